"""Pools as padded arrays: merge the entries of a group, cut large pools, pad."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from twotower_jax import keys
from twotower_jax.data.log import Stage
from twotower_jax.data.mapped import release
from twotower_jax.data.prepared.made import Room


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


def in_memory(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Return an array to be filled, in memory.

    Args:
      name: of the array.
      shape, kind: its shape and type.
    """
    del name
    return np.empty(shape, kind)


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
    if not len(group):
        return entries
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


def pad_parts(
    parts: Callable[[], Iterable[Entries]],
    group_of_positive: np.ndarray,
    num_items: int,
    size: int,
    seed: int = 0,
    room: Room = in_memory,
) -> tuple[HardPools | None, tuple[int, int]]:
    """Pools of merged entries, each ascending by weight and then by item.

    Ascending, so that sums of probabilities from the left keep the small ones exact.
    The parts are read twice: for the sizes of the pools, and to fill them.

    Args:
      parts: returns the parts, of `merge_entries`; all entries of a group are in one,
        and the groups of a part are above those before it.
      group_of_positive: [n] of each training positive.
      num_items: size of the catalogue, the id of padding.
      size: items kept per pool at most, a random subset; their weights are unchanged.
      seed: of the subsets.
      room: returns the arrays to fill, by name, shape and type.

    Returns:
      The padded pools, None without entries; the number of entries, and of those kept.

    Examples:
      >>> items, weights = np.array([2, 4]), np.array([3.0, 1.0])
      >>> entries = Entries(np.zeros(2, int), items, weights, np.array([1, 0]))
      >>> pools, _ = pad_parts(lambda: [entries], np.array([0]), 5, 64)
      >>> pools.item.tolist(), np.exp(pools.log_prob).tolist(), pools.stage.tolist()
      ([[4, 2]], [[0.25, 0.75]], [[0, 1]])
    """
    sizes = [_sizes(part.group) for part in parts()]
    all_sizes = np.concatenate(sizes) if sizes else np.zeros(0, np.int64)
    if not len(all_sizes):
        return None, (0, 0)
    number, longest = len(all_sizes), int(np.minimum(all_sizes, size).max())
    pools = HardPools(
        room("item", (number, longest), "<i4"),
        room("log_prob", (number, longest), "<f4"),
        room("stage", (number, longest), "|i1"),
        room("of_row", (len(group_of_positive),), "<i4"),
    )
    pool_of = np.full(int(group_of_positive.max()) + 1, -1, np.int32)
    crowded = int(all_sizes[all_sizes > size].sum())
    lots, first = keys.generator(seed, "pools").permutation(crowded), 0
    for part, own in zip(parts(), sizes, strict=True):
        crowd = int(own[own > size].sum())
        kept = _cut(part, own, size, lots[:crowd], crowded)
        lots, end = lots[crowd:], first + len(own)
        rows = HardPools(
            pools.item[first:end],
            pools.log_prob[first:end],
            pools.stage[first:end],
            pools.of_row,
        )
        pool_of[_fill(rows, kept, num_items)] = np.arange(first, end)
        for values in pools:
            release(values)
        first = end
    pools.of_row[:] = pool_of[group_of_positive]
    return pools, (int(all_sizes.sum()), int(np.minimum(all_sizes, size).sum()))


def _sizes(group: np.ndarray) -> np.ndarray:
    """Return the number of entries of each group that has any; groups are sorted."""
    return np.diff(np.flatnonzero(np.diff(group, prepend=-1)), append=len(group))


def _cut(
    entries: Entries, sizes: np.ndarray, size: int, lots: np.ndarray, number: int
) -> Entries:
    """Keep the `size` entries with the lowest lots of each group that has more.

    Args:
      entries: sorted by group.
      sizes: of the groups.
      size: entries per group at most.
      lots: one for each entry of a larger group, all different.
      number: above all lots.

    Returns:
      The kept entries; their weights are unchanged.
    """
    if not len(lots):
        return entries
    place = np.repeat(np.arange(len(sizes)), sizes)
    crowded = np.flatnonzero((sizes > size)[place])
    group = place[crowded]
    lot = group * number + lots
    last = _place(group) == size - 1
    highest = np.zeros(len(sizes), np.int64)
    highest[group[last]] = np.sort(lot)[last]
    keep = np.ones(len(place), bool)
    keep[crowded] = lot <= highest[group]
    return Entries(*(values[keep] for values in entries))


def _fill(pools: HardPools, entries: Entries, num_items: int) -> np.ndarray:
    """Write entries into pools, one per group, and return the groups."""
    pools.item[:], pools.log_prob[:], pools.stage[:] = num_items, -np.inf, -1
    if not len(entries.group):
        return entries.group
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
    pools.item[number, place] = item
    pools.stage[number, place] = stage
    pools.log_prob[number, place] = np.log(weight) - np.log(total[number])
    return group[starts]


def _levels(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct weights, ascending, and the place of each among them."""
    levels = np.unique(weight)
    return levels, np.searchsorted(levels, weight)


def _place(group: np.ndarray) -> np.ndarray:
    """Return the place of each entry within its group, from 0; groups are sorted."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(starts, append=len(group))
    return np.arange(len(group)) - np.repeat(starts, sizes)
