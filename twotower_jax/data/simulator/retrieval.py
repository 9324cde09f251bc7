"""Retrieval: three channels propose items; a request takes the first distinct."""

from typing import NamedTuple

import numpy as np

from twotower_jax.data.simulator.arrays import best, dots, on_grid, smallest, take
from twotower_jax.data.simulator.groups import draw_in_groups
from twotower_jax.data.simulator.world import World

POPULAR, SIMILAR, TASTE, FILLER = range(4)
# Regions that the taste channel searches, clicked items that the similar one uses.
PROBES = 8
ANCHORS = 8
# Proposals per item of the quota: the surplus replaces repeated items.
RESERVE = 2


class Candidates(NamedTuple):
    """Retrieved items of requests.

    Attributes:
      items: [n, retrieved] int32, distinct in each row.
      channel: [n, retrieved] int8, POPULAR, SIMILAR, TASTE or FILLER.
    """

    items: np.ndarray
    channel: np.ndarray


def quotas(world: World) -> tuple[int, int, int]:
    """Return the number of items of each channel; their sum is ``retrieved``."""
    config, total = world.config, world.sizes.retrieved
    weights = (config.from_popular, config.from_similar, config.from_taste)
    ends = np.rint(np.cumsum(weights) / sum(weights) * total).astype(int).tolist()
    return ends[0], ends[1] - ends[0], ends[2] - ends[1]


def _popular(
    world: World, alive: np.ndarray, number: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw items [n, number] that have appeared, in proportion to popularity."""
    mass = world.cumulative[alive - 1]
    target = np.floor(rng.random((len(alive), number)) * mass[:, None])
    place = np.searchsorted(world.cumulative, target.astype(np.int64), "right")
    return np.minimum(place, alive[:, None] - 1).astype(np.int32)


def _similar(
    world: World,
    history: np.ndarray,
    alive: np.ndarray,
    number: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw items [n, number] by authors of clicked items; -1 without clicks."""
    rows, clicks = len(history), (history >= 0).sum(axis=1)
    pick = np.floor(rng.random((rows, ANCHORS)) * clicks[:, None]).astype(np.int64)
    anchor = take(history, pick)
    author = np.where(anchor >= 0, world.authors.of[anchor], -1)
    uniform = rng.random((rows, ANCHORS, -(-number // ANCHORS)))
    drawn = draw_in_groups(world.authors, author, alive, uniform)
    # All anchors take turns, so that the first draws come from all of them.
    return drawn.swapaxes(1, 2).reshape(rows, -1)[:, :number]


def _taste(
    world: World,
    tastes: np.ndarray,
    alive: np.ndarray,
    number: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the best items [n, number] for a noisy taste in its nearest regions.

    Items are drawn at random from the regions whose centres have the highest dot
    products with the taste; of these, the highest dot products come first. -1 where a
    region is empty.
    """
    rows, probes = len(tastes), min(PROBES, len(world.centres))
    noise = rng.standard_normal(tastes.shape)
    noisy = on_grid(tastes + world.config.retrieval_noise * noise)
    cell = best(noisy @ world.centres.T, probes)
    uniform = rng.random((rows, probes, -(-number // probes)))
    drawn = draw_in_groups(world.cells, cell, alive, uniform).reshape(rows, -1)
    scores = dots(noisy, world.items[drawn])
    return take(drawn, best(np.where(drawn >= 0, scores, -np.inf), number))


def _proposals(
    world: World,
    tastes: np.ndarray,
    history: np.ndarray,
    alive: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return items [n, columns] in order of preference, and each column's channel."""
    popular, similar, taste = quotas(world)
    parts = (
        (POPULAR, popular, _popular(world, alive, RESERVE * popular, rng)),
        (SIMILAR, similar, _similar(world, history, alive, RESERVE * similar, rng)),
        (TASTE, taste, _taste(world, tastes, alive, RESERVE * taste, rng)),
    )
    first = [(name, items[:, :quota]) for name, quota, items in parts]
    more = [(name, items[:, quota:]) for name, quota, items in parts]
    ordered = first + more[::-1]
    widths = [items.shape[1] for _, items in ordered]
    channel = np.repeat([name for name, _ in ordered], widths)
    return np.concatenate([items for _, items in ordered], axis=1), channel


def _first_distinct(
    items: np.ndarray, clicked: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first k columns [n, k] of distinct items, and whether they suffice.

    The first ``clicked`` columns, and every column that repeats one of their items,
    are used only where the others do not suffice. -1 stands for no item.
    """
    columns = items.shape[1]
    keys = (items.astype(np.int64) << 31) | np.arange(columns)
    keys.sort(axis=1)
    column, item = keys & ((1 << 31) - 1), keys >> 31
    usable = item >= 0
    usable[:, 1:] &= item[:, 1:] != item[:, :-1]
    last = column < clicked
    order = np.where(usable, column + np.where(last, columns, 0), 2 * columns)
    columns_of_items = take(column, smallest(order, k))
    return columns_of_items, (usable & ~last).sum(axis=1) >= k


def retrieve(
    world: World,
    tastes: np.ndarray,
    history: np.ndarray,
    alive: np.ndarray,
    rng: np.random.Generator,
) -> Candidates:
    """Distinct items for requests.

    In this order: the quotas of the popular, the similar and the taste channel, their
    surplus proposals, items from a random index on, and, if all items that have
    appeared do not suffice, items that the user clicked lately.
    """
    items, channel = _proposals(world, tastes, history, alive, rng)
    offset = np.floor(rng.random(len(items)) * alive).astype(np.int64)
    clicked, k = history.shape[1], world.sizes.retrieved
    items = np.concatenate([history, items], axis=1)
    channel = np.concatenate([np.full(clicked, FILLER), channel, np.full(k, FILLER)])
    columns, enough = _first_distinct(items, clicked, k)
    retrieved = take(items, columns)
    short = np.flatnonzero(~enough)
    if len(short):
        run = (offset[short, None] + np.arange(k)) % alive[short, None]
        longer = np.concatenate([items[short], run.astype(np.int32)], axis=1)
        columns[short], _ = _first_distinct(longer, clicked, k)
        retrieved[short] = take(longer, columns[short])
    return Candidates(retrieved, channel[columns].astype(np.int8))
