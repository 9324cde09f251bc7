"""Pools as padded arrays: merge the entries of a group, cut large pools, pad."""

from typing import NamedTuple

import numpy as np

from twotower_jax import keys
from twotower_jax.data.log import Stage


class HardPools(NamedTuple):
    """Pools of P requests or users, padded to the largest, of L items.

    Attributes:
      item: [P, L] int32 distinct items of a pool, num_items on padding (at the end).
      log_prob: [P, L] float32 log probability of a draw, ascending, -inf on padding;
        the probabilities of a pool sum to 1.
      stage: [P, L] int8 furthest stage of an item in the pool, -1 on padding.
      of_row: [n] int32 pool of each training positive, -1 where it has none.
    """

    item: np.ndarray
    log_prob: np.ndarray
    stage: np.ndarray
    of_row: np.ndarray


class Entries(NamedTuple):
    """Entries of pools.

    Attributes:
      group: [entries] int64, a user or a request, from 0.
      item: [entries] integers.
      weight: [entries] float64, above 0.
      stage: [entries] integers, furthest stage of the item.
    """

    group: np.ndarray
    item: np.ndarray
    weight: np.ndarray
    stage: np.ndarray


def merge_entries(entries: Entries, num_items: int) -> Entries:
    """One entry per group and item, with the sum of the weights and the furthest stage.

    Args:
      entries: in any order.
      num_items: size of the catalogue.

    Returns:
      The merged entries, sorted by group and item.

    Examples:
      >>> item, stage = np.array([4, 2, 4]), np.array([1, 0, 2])
      >>> merged = merge_entries(Entries(np.zeros(3, int), item, np.ones(3), stage), 5)
      >>> merged.item.tolist(), merged.weight.tolist(), merged.stage.tolist()
      ([2, 4], [1.0, 2.0], [0, 2])
    """
    group, item, weight, stage = entries
    of_pair, furthest = np.divmod(
        np.sort((group * num_items + item) * len(Stage) + stage), len(Stage)
    )
    furthest = furthest[np.flatnonzero(np.diff(of_pair, append=-1))]
    # Numbers are packed into one and sorted, which is many times faster than argsort.
    levels, level = _levels(weight)
    packed = np.sort((group * num_items + item) * len(levels) + level)
    pair, level = np.divmod(packed, len(levels))
    first = np.flatnonzero(np.diff(pair, prepend=-1))
    group, item = np.divmod(pair[first], num_items)
    return Entries(group, item, np.add.reduceat(levels[level], first), furthest)


def cut_entries(entries: Entries, size: int, seed: int) -> Entries:
    """Keep a random subset of `size` entries of each group that has more.

    Args:
      entries: of all groups.
      size: entries per group at most.
      seed: of the subset.

    Returns:
      The kept entries; their weights are unchanged.
    """
    sizes = np.bincount(entries.group)
    crowded = np.flatnonzero((sizes > size)[entries.group])
    if not len(crowded):
        return entries
    group = entries.group[crowded]
    lot = group * len(crowded) + keys.generator(seed, "pools").permutation(len(crowded))
    last = _place(group) == size - 1
    highest = np.zeros(len(sizes), np.int64)
    highest[group[last]] = np.sort(lot)[last]
    keep = np.ones(len(entries.group), bool)
    keep[crowded] = lot <= highest[group]
    return Entries(*(values[keep] for values in entries))


def pad_entries(
    entries: Entries, group_of_positive: np.ndarray, num_items: int
) -> HardPools:
    """Pools of entries, each ascending by weight and then by item.

    Ascending, so that sums of probabilities from the left keep the small ones exact.

    Args:
      entries: at least one.
      group_of_positive: [n] int64, of each training positive.
      num_items: size of the catalogue, the id of padding.

    Returns:
      The padded pools.

    Examples:
      >>> items, weights = np.array([2, 4]), np.array([3.0, 1.0])
      >>> entries = Entries(np.zeros(2, int), items, weights, np.array([1, 0]))
      >>> pools = pad_entries(entries, np.array([0]), 5)
      >>> pools.item.tolist(), np.exp(pools.log_prob).tolist(), pools.stage.tolist()
      ([[4, 2]], [[0.25, 0.75]], [[0, 1]])
    """
    levels, level = _levels(entries.weight)
    packed = (entries.group * len(levels) + level) * num_items + entries.item
    packed, stage = np.divmod(np.sort(packed * len(Stage) + entries.stage), len(Stage))
    packed, item = np.divmod(packed, num_items)
    group, level = np.divmod(packed, len(levels))
    weight = levels[level]
    place = _place(group)
    starts = np.flatnonzero(place == 0)
    number = np.cumsum(place == 0) - 1
    total = np.add.reduceat(weight, starts)
    shape = (len(starts), int(place.max()) + 1)
    items = np.full(shape, num_items, np.int32)
    log_prob = np.full(shape, -np.inf, np.float32)
    stages = np.full(shape, -1, np.int8)
    items[number, place] = item
    stages[number, place] = stage
    log_prob[number, place] = np.log(weight) - np.log(total[number])
    pool_of = np.full(group_of_positive.max() + 1, -1, np.int32)
    pool_of[group[starts]] = np.arange(len(starts))
    return HardPools(items, log_prob, stages, pool_of[group_of_positive])


def _levels(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct weights, ascending, and the place of each among them."""
    levels = np.unique(weight)
    return levels, np.searchsorted(levels, weight)


def _place(group: np.ndarray) -> np.ndarray:
    """Return the place of each entry within its group, from 0; groups are sorted."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(starts, append=len(group))
    return np.arange(len(group)) - np.repeat(starts, sizes)
