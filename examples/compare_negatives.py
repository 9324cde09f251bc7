# %% [markdown]
# # Comparing kinds of negatives on your own log
#
# Three kinds of negatives on one log, with an interval and a verdict for each. Open
# this file as a notebook in VS Code or Jupyter (jupytext), or run it: `python
# examples/compare_negatives.py`.

# %%
import numpy as np
import polars as pl

import twotower_jax

CLICKS = 30_000  # of the made log
STEPS = 400  # of each run
SEEDS = 3  # a verdict needs three, five are better
OUTPUT = "outputs"  # folder of all runs

# %% [markdown]
# A made log: users of two groups click items of their group. In its place, put a frame
# of polars or pandas with one row per interaction, or the path of a file.

# %%
rng = np.random.default_rng(0)
users, items = rng.integers(0, CLICKS // 25, CLICKS), rng.zipf(1.3, CLICKS) % 70
clicks = pl.DataFrame(
    {
        "who": [f"u {user}" for user in users],
        "what": 2 * items + users % 2,
        "at": 1_700_000_000 + 60 * np.arange(CLICKS),
    }
)

# %% [markdown]
# The columns are guessed; `user=`, `item=` and `time=` name them. The log lists its
# guesses.

# %%
log = twotower_jax.read_log(clicks, output=OUTPUT)
print(log)

# %% [markdown]
# An arm is a file of `conf/arms`, or a name with keys. The first one is the base.
# Running the cell again reuses finished runs. A cell that was interrupted goes on where
# it stopped.

# %%
settings = {
    "towers.dim": 16,
    "towers.query": ["id"],
    "towers.candidate": ["id"],
    "training.batch_size": 128,
    "training.steps": STEPS,
    "training.eval_every": max(1, STEPS // 10),
    "evaluation.k": [10, 20],
}
warm = ("in-batch, warm", {"arms": "in_batch_logq", "loss.temperature": 0.5})
study = twotower_jax.compare(
    log,
    arms=["in_batch_logq", "in_batch", warm],
    seeds=SEEDS,
    output=OUTPUT,
    overrides=settings,
)

# %% [markdown]
# `table` has the mean, the difference to the base, its interval and the verdict.
# `best` is the arm that the verdicts put above all others. It is None here: the arms
# were not tuned, and another learning rate might reverse their order.
# `tune={"loss.temperature": [0.1, 0.2]}` lets each arm choose on validation, before its
# test.

# %%
print(study.answer)
print(study.table)
print("best:", study.best, " report:", study.report)
study.plot()
