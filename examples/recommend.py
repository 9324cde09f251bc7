# %% [markdown]
# # A model: lists of items for users, and neighbours of items
#
# Trains a model on a made log, loads it, and looks at what it has learnt. Run it with
# `python examples/recommend.py`, or open it as a notebook.

# %%
import numpy as np
import polars as pl

import twotower_jax
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder

CLICKS = 30_000  # of the made log
STEPS = 600  # of the training
OUTPUT = "outputs"  # folder of all runs

# %% [markdown]
# Items have one of five topics, and users click items of their own topic.

# %%
rng = np.random.default_rng(0)
users, places = rng.integers(0, CLICKS // 25, CLICKS), rng.zipf(1.3, CLICKS) % 28
topics = np.array(["hats", "shoes", "coats", "bags", "belts"])
items = [
    f"{topics[user % 5]}_{place}" for user, place in zip(users, places, strict=True)
]
clicks = pl.DataFrame({"user": users, "item": items, "time": np.arange(CLICKS)})

# %% [markdown]
# `log.config` is a whole configuration, so `run` trains one model: in-batch negatives
# with logQ, and the histories of users as the query. A finished run is returned at
# once.

# %%
settings = {
    "output": OUTPUT,
    "name": "recommend",
    "towers.dim": 16,
    "towers.query": ["history"],
    "towers.candidate": ["id"],
    "training.batch_size": 128,
    "training.steps": STEPS,
    "training.eval_every": max(1, STEPS // 10),
    "evaluation.k": [10, 20],
}
log = twotower_jax.read_log(clicks, output=OUTPUT, overrides=settings)
metrics = run(log.config)["metrics"]["test"]
print(f"recall@20 {metrics['recall@20']:.4f}")

# %% [markdown]
# `load_model` takes the folder of a run or of `twotower export`. Lists are polars
# frames; `lists.to_pandas()` makes one of pandas.

# %%
model = twotower_jax.load_model(run_folder(log.config))
lists = model.recommend(users=[0, 1], k=5)
print(lists)
print(model.recommend(histories=[["hats_1", "hats_2"], ["bags_1"]], k=5))

# %% [markdown]
# Neighbours by the cosine of item vectors. The model has not seen the topics: do
# neighbours share them? By chance a fifth does.

# %%
near = model.similar(["hats_1", "shoes_1"], k=5)
print(near)
pairs = model.similar(model.item_ids, k=5).with_columns(
    same=pl.col("item").str.split("_").list[0]
    == pl.col("similar").str.split("_").list[0]
)
share = pairs["same"].to_numpy().mean()
print(f"{share:.0%} of the nearest five share the topic")
