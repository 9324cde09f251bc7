"""A small world whose click probabilities are known, as the log of a funnel.

A few types of users have their own tastes on top of the popularity of the items. The
log holds each pair of a type and an item exactly in proportion to its probability, and
deals these clicks to the users of the type, so that

    P(i | t) = clicks of item i by users of type t / clicks of type t

without error. Every click is one request. A stage of a request rejects some of the
items that the funnel retrieves for the type, later stages rather those that the type
likes, and never the clicked one.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax import keys
from twotower_jax.data.log import Feature, FunnelLog, Pairs, Split, Stage
from twotower_jax.run.loader import Loaded

# (name, first rank, end rank or None), the result of `parse_stage`.
StageWindow = tuple[str, int, int | None]

ITEMS, TYPES, CLICKS = 400, 4, 4096
# Popularity falls as rank^-POPULARITY; tastes multiply it by e^(TASTE normal).
POPULARITY, TASTE = 0.7, 0.7
# Share of the catalogue that the funnel retrieves for a type.
RETRIEVED = 0.2
# Clicks of a user, and items that a stage rejects in a request.
PER_USER, REJECTED = 16, 8
# A stage rejects item i with a chance in proportion to P(i | t)^power.
POWER = {
    Stage.RETRIEVED: 0.25,
    Stage.PRE_RANKED: 0.5,
    Stage.RANKED: 0.75,
    Stage.RE_RANKED: 1.0,
    Stage.EXPOSED: 1.0,
}


class World(NamedTuple):
    """A small world of T types of users and N items."""

    probability: np.ndarray  # [T, N] float64 P(i | t), above 0
    type_of_user: np.ndarray  # [users] int32
    retrieved: np.ndarray  # [T, N] bool, items that the requests of a type may reject
    loaded: Loaded  # the log, its split and the counts of the items


class _ItemFeatures(dict[str, Feature]):
    """Features of items by any name: the type that likes the item most.

    A source of negatives may read a feature of the log, which is not the world's.
    """

    def __init__(self, kind: np.ndarray, kinds: int):
        super().__init__()
        names = pl.Series(map(str, range(kinds)))
        self._feature = Feature("categorical", kind.astype(np.int32), kinds, names)

    def __missing__(self, name: str) -> Feature:
        return self._feature


@functools.lru_cache(maxsize=4)
def make_world(stages: tuple[StageWindow, ...] = ()) -> World:
    """The small world of the audit, with the items that some stages rejected."""
    counts = zipf_counts(ITEMS, TYPES, CLICKS)
    return world_of(counts, retrieved_items(counts), stages)


def world_of(
    counts: np.ndarray,
    retrieved: np.ndarray,
    stages: Sequence[StageWindow] = (),
    per_user: int = PER_USER,
) -> World:
    """A small world with given clicks."""
    types, num_items = counts.shape
    rng = keys.generator(0, "objective.deal")
    clicked = [rng.permutation(np.repeat(np.arange(num_items), row)) for row in counts]
    item = np.concatenate(clicked).astype(np.int32)
    user = (np.arange(len(item)) // per_user).astype(np.int32)
    type_of_user = np.repeat(np.arange(types), len(item) // per_user // types)
    chance = np.where(retrieved, counts, 0)
    rejected = [_rejected(chance, type_of_user[user], item, one) for one in stages]
    features = _ItemFeatures(np.argmax(counts / counts.sum(axis=0), axis=0), types)
    log = replace(_log(user, item, rejected, num_items), item_features=features)
    none = Pairs(user[:0], item[:0])
    split = Split(Pairs(user, item, None, np.arange(len(item))), none, none)
    totals = np.bincount(item, minlength=num_items)
    return World(
        counts / counts.sum(axis=1, keepdims=True),
        type_of_user.astype(np.int32),
        retrieved,
        Loaded(log, split, totals, "small world"),
    )


def zipf_counts(num_items: int, types: int, clicks: int) -> np.ndarray:
    """Clicks of types whose tastes vary around a common popularity."""
    rng = keys.generator(0, "objective.tastes")
    taste = np.exp(TASTE * rng.standard_normal((types, num_items)))
    weight = np.arange(1, num_items + 1) ** -POPULARITY * taste
    return np.array([whole_counts(row, clicks) for row in weight])


def whole_counts(weight: np.ndarray, clicks: int) -> np.ndarray:
    """Whole numbers nearly in proportion to weights, at least 1."""
    share = weight / weight.sum() * (clicks - len(weight))
    counts = 1 + np.floor(share).astype(np.int64)
    rest = clicks - counts.sum()
    counts[np.argsort(-(share % 1), kind="stable")[:rest]] += 1
    return counts


def retrieved_items(counts: np.ndarray) -> np.ndarray:
    """Items that the funnel retrieves for each type: rather popular ones."""
    rng = keys.generator(0, "objective.retrieved")
    # The largest values of log w + Gumbel noise are a draw without replacement by w.
    lots = 0.5 * np.log(counts) + rng.gumbel(size=counts.shape)
    places = np.argsort(np.argsort(-lots, axis=1), axis=1)
    return places < int(RETRIEVED * counts.shape[1])


def _rejected(
    chance: np.ndarray, kinds: np.ndarray, clicked: np.ndarray, window: StageWindow
) -> dict[str, np.ndarray]:
    """The rows of items that one stage rejects, best first in each request."""
    name, first, end = window
    stage = Stage[name.upper()]
    number = REJECTED if end is None else min(REJECTED, end - first)
    rng = keys.generator(0, f"objective.{name}", first)
    best = np.empty((len(kinds), number), np.int64)
    for kind, row in enumerate(chance):
        (items,), mine = np.nonzero(row), kinds == kind
        lots = POWER[stage] * np.log(row[items]) + rng.gumbel(
            size=(mine.sum(), len(items))
        )
        lots[clicked[mine][:, None] == items] = -np.inf
        best[mine] = items[np.argsort(-lots, axis=1)[:, :number]]
    return {
        "request": np.repeat(np.arange(len(kinds)), number),
        "item": best.reshape(-1),
        "stage": np.full(best.size, stage),
        "rank": np.tile(first + np.arange(number), len(kinds)),
    }


def _log(
    user: np.ndarray,
    item: np.ndarray,
    rejected: Sequence[dict[str, np.ndarray]],
    num_items: int,
) -> FunnelLog:
    """The log of the clicks, one request each, and of the rejected items."""
    clicks = {
        "request": np.arange(len(user)),
        "item": item,
        "stage": np.full(len(user), Stage.CLICKED),
        "rank": np.full(len(user), -1),
    }
    parts = (clicks, *rejected)
    rows = {name: np.concatenate([part[name] for part in parts]) for name in clicks}
    return FunnelLog(
        user=user[rows["request"]],
        item=rows["item"].astype(np.int32),
        stage=rows["stage"].astype(np.int8),
        rank=rows["rank"].astype(np.int32),
        request=rows["request"].astype(np.int64),
        user_ids=pl.Series("user", np.arange(user[-1] + 1)),
        item_ids=pl.Series("item", np.arange(num_items)),
    )
