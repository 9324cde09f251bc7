"""Features of users and items: noisy views of their tastes."""

import numpy as np
import polars as pl

from twotower_jax.data.encode import encode_features
from twotower_jax.data.log import Feature
from twotower_jax.data.simulator.arrays import stream
from twotower_jax.data.simulator.world import World

# A tag is given where the noisy taste along its axis is above this.
TAG_ABOVE = 1.0


def _labels(prefix: str, codes: np.ndarray) -> pl.Series:
    """Return "prefix-code" [n]."""
    return prefix + "-" + pl.Series(codes).cast(pl.String)


def _tags(seen: np.ndarray) -> pl.Series:
    """Return, per item, the list of axes along which its noisy taste is high."""
    row, axis = np.nonzero(seen > TAG_ABOVE)
    pairs = pl.DataFrame({"row": row, "tag": _labels("tag", axis)})
    lists = pairs.group_by("row", maintain_order=True).agg("tag")
    every = pl.DataFrame({"row": np.arange(len(seen))})
    return every.join(lists, on="row", how="left", maintain_order="left")["tag"]


def user_features(world: World, ids: pl.Series) -> dict[str, Feature]:
    """Features segment and activity of users.

    The segment is the axis of the highest noisy taste at the beginning of the log;
    activity is the logarithm of a user's share of the requests.
    """
    rng = stream(world.config.seed, "user features")
    noise = world.config.feature_noise * rng.standard_normal(world.users.shape)
    table = pl.DataFrame(
        {
            "user": np.arange(len(world.users)),
            "segment": _labels("segment", (world.users + noise).argmax(axis=1)),
            "activity": np.log(world.activity),
        }
    )
    kinds = {"segment": "categorical", "activity": "numeric"}
    return encode_features(table, "user", ids, kinds, "simulator")


def item_features(world: World, ids: pl.Series) -> dict[str, Feature]:
    """Features category, author, tags, price and stars of items.

    Category is the axis of the highest noisy taste, tags the axes where it is above
    TAG_ABOVE, price the noisy taste along the first axis, stars the noisy quality.
    """
    rng, deviation = stream(world.config.seed, "features"), world.config.feature_noise
    seen = world.items + deviation * rng.standard_normal(world.items.shape)
    noise = deviation * rng.standard_normal((2, len(world.items)))
    table = pl.DataFrame(
        {
            "item": np.arange(len(world.items)),
            "category": _labels("category", seen.argmax(axis=1)),
            "author": _labels("author", world.authors.of),
            "tags": _tags(seen),
            "price": world.items[:, 0] + noise[0],
            "stars": world.quality + noise[1],
        }
    )
    kinds = {
        "category": "categorical",
        "author": "categorical",
        "tags": "multi",
        "price": "numeric",
        "stars": "numeric",
    }
    return encode_features(table, "item", ids, kinds, "simulator")
