"""Users and items: tastes, quality, popularity, activity, drift."""

import math
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.encode import encode_features
from twotower_jax.data.log import Feature
from twotower_jax.data.simulator.arrays import best, dots, on_grid, stream
from twotower_jax.data.simulator.config import SimulatorConfig


class Groups(NamedTuple):
    """Items by group; items appear in the order of their index.

    Attributes:
      of: [items] int32, the group of each item.
      order: [items] int32, the items sorted by group, then index.
      first: [groups] int64, the first place of each group in ``order``.
      keys: [items] int64, group * items + item in that order.
    """

    of: np.ndarray
    order: np.ndarray
    first: np.ndarray
    keys: np.ndarray


def make_groups(of: np.ndarray, num: int) -> Groups:
    """Items sorted by group.

    Examples:
      >>> groups = make_groups(np.array([1, 0, 1]), 2)
      >>> groups.order.tolist(), groups.first.tolist()
      ([1, 0, 2], [0, 1])
    """
    of = of.astype(np.int32)
    order = np.argsort(of, kind="stable")
    keys = of[order].astype(np.int64) * len(of) + order
    first = np.searchsorted(of[order], np.arange(num))
    return Groups(of, order.astype(np.int32), first, keys)


def draw_in_groups(
    groups: Groups, group: np.ndarray, alive: np.ndarray, uniform: np.ndarray
) -> np.ndarray:
    """Uniform draws of items from groups, with replacement."""
    items = len(groups.of)
    begin = groups.first[group]
    end = np.searchsorted(groups.keys, group.astype(np.int64) * items + alive[:, None])
    size = np.where(group >= 0, end - begin, 0)
    place = begin[..., None] + (uniform * size[..., None]).astype(np.int64)
    drawn = groups.order[np.minimum(place, items - 1)]
    return np.where(size[..., None] > 0, drawn, np.int32(-1))


# Popularity as whole numbers, whose sums are exact.
WEIGHT_ONE = 2.0**40
_BLOCK = 1 << 22


class Sizes(NamedTuple):
    """Number of items per request that reach each stage."""

    retrieved: int
    pre_ranked: int
    ranked: int
    re_ranked: int
    exposed: int


class World(NamedTuple):
    """Everything that does not depend on requests. Items are in order of appearance.

    Attributes:
      config: the configuration of the world.
      sizes: sizes of the stages.
      users: [users, dim] float32, tastes at the beginning.
      turns: [users, dim] float32, tastes toward which the users drift.
      items: [items, dim] float32, tastes.
      quality: [items] float32, standard normal.
      cumulative: [items] int64, running sum of the popularity weights.
      log_popularity: [items] float32, log of the popularity, less its mean.
      activity: [users] float64, share of the requests; sums to 1.
      authors: the items by author.
      cells: the items by region of the space of tastes.
      centres: [cells, dim] float32, centres of the regions.
      old: number of items that are present from the beginning.
    """

    config: SimulatorConfig
    sizes: Sizes
    users: np.ndarray
    turns: np.ndarray
    items: np.ndarray
    quality: np.ndarray
    cumulative: np.ndarray
    log_popularity: np.ndarray
    activity: np.ndarray
    authors: Groups
    cells: Groups
    centres: np.ndarray
    old: int


def make_sizes(config: SimulatorConfig) -> Sizes:
    """Sizes of the stages.

    Of a catalogue of fewer than twice ``retrieved`` items half is retrieved, and the
    surplus of each stage over ``exposed`` shrinks in proportion.

    Examples:
      >>> make_sizes(SimulatorConfig(items=400)).retrieved
      200
    """
    exposed = config.exposed
    retrieved = min(config.retrieved, max(exposed, config.items // 2))
    whole = max(1, config.retrieved - exposed)

    def size(full: int) -> int:
        surplus = (full - exposed) * (retrieved - exposed)
        return exposed + -(-surplus // whole)

    return Sizes(
        retrieved=retrieved,
        pre_ranked=size(config.pre_ranked),
        ranked=size(config.ranked),
        re_ranked=size(config.re_ranked),
        exposed=exposed,
    )


def _popularity(config: SimulatorConfig, quality: np.ndarray) -> np.ndarray:
    """Return the popularity weights [items], whole numbers."""
    rng = stream(config.seed, "popularity")
    promise = config.popular_quality * quality + rng.standard_normal(config.items)
    place = np.arange(1, config.items + 1, dtype=np.float64)
    weights = np.empty(config.items, np.int64)
    zipf = np.rint(WEIGHT_ONE * place**-config.zipf_exponent)
    weights[np.argsort(-promise, kind="stable")] = np.maximum(zipf, 1).astype(np.int64)
    return weights


def _items(config: SimulatorConfig) -> tuple[np.ndarray, Groups]:
    """Return the tastes of the items, scattered around those of their author.

    All have the length sqrt(dim), so that no item is liked for its length alone.
    """
    rng = stream(config.seed, "items")
    number = math.ceil(config.items / config.items_per_author)
    author = rng.integers(0, number, config.items)
    centre = rng.standard_normal((number, config.latent_dim))
    own = rng.standard_normal((config.items, config.latent_dim))
    spread = config.author_spread
    tastes = centre[author] + spread * own
    length = np.sqrt((tastes**2).sum(axis=1, keepdims=True))
    tastes *= math.sqrt(config.latent_dim) / np.maximum(length, 1e-9)
    return on_grid(tastes), make_groups(author, number)


def _cells(config: SimulatorConfig, items: np.ndarray) -> tuple[np.ndarray, Groups]:
    """Return centres of about sqrt(items) regions, and the items by nearest centre."""
    number = math.isqrt(config.items - 1) + 1
    rng = stream(config.seed, "cells")
    centres = items[np.sort(rng.permutation(config.items)[:number])]
    half = (centres**2).sum(axis=1) / 2
    of = np.empty(config.items, np.int32)
    rows = max(1, _BLOCK // number)
    for i in range(0, config.items, rows):
        nearness = items[i : i + rows] @ centres.T - half
        of[i : i + rows] = best(nearness, 1)[:, 0]
    return centres, make_groups(of, number)


def make_world(config: SimulatorConfig) -> World:
    """Draw a world: a pure function of its config."""
    sizes = make_sizes(config)
    rng = stream(config.seed, "users")
    shape = (config.users, config.latent_dim)
    users, turns = (on_grid(rng.standard_normal(shape)) for _ in range(2))
    activity = np.exp(config.activity_spread * rng.standard_normal(config.users))
    items, authors = _items(config)
    quality = on_grid(stream(config.seed, "quality").standard_normal(config.items))
    centres, cells = _cells(config, items)
    popularity = _popularity(config, quality)
    log_popularity = np.log(popularity)
    # The items of the beginning must suffice for retrieval.
    new = math.floor(config.items * config.growth / (1 + config.growth))
    new = min(new, config.items - sizes.retrieved)
    return World(
        config=config,
        sizes=sizes,
        users=users,
        turns=turns,
        items=items,
        quality=quality,
        cumulative=np.cumsum(popularity),
        log_popularity=on_grid(log_popularity - log_popularity.mean()),
        activity=activity / activity.sum(),
        authors=authors,
        cells=cells,
        centres=centres,
        old=config.items - new,
    )


def tastes_at(world: World, users: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Tastes of users at given times: cos(drift t) z + sin(drift t) w, on the grid."""
    angle = world.config.drift * np.asarray(moment, np.float64)[:, None]
    turned = np.sin(angle) * world.turns[users]
    return on_grid(np.cos(angle) * world.users[users] + turned)


def alive_at(world: World, moment: np.ndarray) -> np.ndarray:
    """Number of items that have appeared."""
    new = world.config.items - world.old
    return world.old + np.floor(new * np.asarray(moment)).astype(np.int64)


def taste_scale(config: SimulatorConfig) -> np.float32:
    """Return the factor taste_weight / sqrt(dim) of a dot product in an affinity."""
    return np.float32(config.taste_weight / math.sqrt(config.latent_dim))


def affinity(world: World, tastes: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Affinities a = taste_weight <z, x> / sqrt(dim) + quality_weight q."""
    merit = np.float32(world.config.quality_weight) * world.quality[items]
    return taste_scale(world.config) * dots(tastes, world.items[items]) + merit


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
