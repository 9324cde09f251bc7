# %% [markdown]
# # A verdict on logged clicks, and the truth
#
# The embedded simulator knows what each user likes. So the order of arms by logged
# clicks can be compared with the order by the truth. Run it with `python
# examples/log_and_truth.py`.

# %%
import twotower_jax

USERS = 1_000
ITEMS = 2_000
REQUESTS = 15_000  # lists of items that were shown
STEPS = 600  # of each run
SEEDS = 3
OUTPUT = "outputs"  # folder of all runs

# %% [markdown]
# Two arms: in-batch negatives with logQ, and the same with popular positives drawn less
# often. Logged clicks are on items that were shown, and popular items are shown more
# often. A model that recommends less popular items than were shown is punished by the
# log, whether users like them or not.

# %%
world = {
    "data.simulator.users": USERS,
    "data.simulator.items": ITEMS,
    "data.simulator.requests": REQUESTS,
}
settings = world | {
    "towers.dim": 8,
    "towers.query": ["id"],
    "towers.candidate": ["id"],
    "training.batch_size": 256,
    "training.steps": STEPS,
    "training.eval_every": max(1, STEPS // 10),
    "evaluation.k": [10, 20],
}
by_log = twotower_jax.compare(
    arms=["in_batch_logq", "downsample_hot"],
    seeds=SEEDS,
    output=OUTPUT,
    overrides=settings,
)

# %% [markdown]
# The same runs by two metrics: the share of a user's logged test clicks among the 20
# recommended, and the share of the user's 20 truly best items among them.

# %%
by_truth = by_log.by("true_recall@20")
print(by_log.table)
print(by_truth.table)

# %%
for study in (by_log, by_truth):
    means = dict(study.table.select("arm", "mean").iter_rows())
    (other,) = set(means) - {study.base}
    change = means[other] / means[study.base] - 1
    print(f"{study.metric}: {other} has {change:+.0%} against {study.base}")

# %% [markdown]
# Where the two numbers differ, the log's verdict is on what was shown, not on what
# users like. `docs/results` has the worlds in which even the sign differs.
