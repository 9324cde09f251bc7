"""Hard negatives of the log: the items that a stage of the funnel rejected, as pools.

A pool holds the items that reached a stage and no later one, in the request of a
positive or in all requests of its user, with the probability pi_u(j) of a draw. Rows
that training must not see are left out, see `funnel_rows`. Pools are padded arrays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from twotower_jax import keys
from twotower_jax.arrays.mapped import release
from twotower_jax.data.funnel_rows import FunnelColumns, FunnelRows
from twotower_jax.data.log import Stage
from twotower_jax.data.prepared.made import Room
from twotower_jax.errors import InputError


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
    """Return an array to be filled, in memory."""
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
    """Keep the `size` entries with the lowest lots of each group that has more."""
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


# --- Pools of the rows of a log -------------------------------------------------------

Stages = tuple[tuple[str, int, int | None], ...]


class PoolRule(NamedTuple):
    """The rows of the log that are hard negatives of a positive.

    Attributes:
      stages: (name, first rank, end rank): rows whose furthest stage it is, with a rank
        in [first, end); (name, 0, None) for any rank, also an unknown one. A row that
        two stages select counts twice.
      weights: one per stage, above 0; empty: all 1.
      pool: "request" (the items of the positive's own request) or "user" (those of all
        requests of its user).
      pool_size: items kept per pool at most.
    """

    stages: Stages
    weights: tuple[float, ...] = ()
    pool: str = "request"
    pool_size: int = 64


# Why rows of the stages are in no pool, in the order in which they are left out.
LATER, HELD_OUT, ALONE = (
    "rows later than training",
    "rows of requests with a held-out positive",
    "rows of no training positive",
)
CUT = "items cut by pool_size"


def make_pools(
    rows: FunnelRows,
    rule: PoolRule,
    num_items: int,
    seed: int = 0,
    room: Room = in_memory,
) -> tuple[HardPools, dict[str, int]]:
    """Pools of the training positives, and the number of rows left out of them.

    Each row of the log is an entry with the weight of its stage, so that the chance of
    a stage is its weight times its number of entries in the pool. An item with several
    entries in a pool is one item with the sum of their weights, and

      pi_u(j) = w_j / sum_i w_i.

    A pool of more than `pool_size` items keeps a random subset of that size, each
    subset with equal probability; the weights within it are unchanged. The item of a
    positive can be in its own pool (of a user: rejected once, clicked later); masks
    remove it later.

    Returns:
      The pools, none of them empty, and counts. The rows of the stages are the entries
      plus all that was left out, by reason.
    """
    of_positive = _groups(rule, rows.positive_user, rows.positive_request)
    has_positive = np.zeros(int(of_positive.max()) + 1, bool)
    has_positive[of_positive] = True
    counts: Counter[str] = Counter()

    def merged() -> Iterator[Entries]:
        counts.clear()
        for part in rows.parts():
            found = _entries(part, rule, has_positive, counts)
            counts["entries"] += len(found.item)
            yield merge_entries(found, num_items)

    # One part is kept, and several are made twice: they may be larger than memory.
    parts = merged if len(rows.ends) > 1 else cache(lambda: tuple(merged()))
    pools, sizes = pad_parts(parts, of_positive, num_items, rule.pool_size, seed, room)
    report = {
        name: counts[name] for name in ("rows of the stages", LATER, HELD_OUT, ALONE)
    }
    if not report["rows of the stages"]:
        raise _no_rows(rows, rule.stages)
    if pools is None:
        raise _no_pools(rule, report)
    report["rows of an item that its pool has already"] = counts["entries"] - sizes[0]
    report[CUT] = sizes[0] - sizes[1]
    report["items in pools"] = sizes[1]
    report["pools"] = len(pools.item)
    report["training positives without a pool"] = int((pools.of_row < 0).sum())
    return pools, report


def _entries(
    rows: FunnelColumns, rule: PoolRule, has_positive: np.ndarray, counts: Counter[str]
) -> Entries:
    """Return the entries of a part of the log, and count the rows that are none."""
    weight = _row_weights(rows, rule)
    kept = np.flatnonzero(weight)
    counts["rows of the stages"] += len(kept)
    group = _groups(rule, rows.user, rows.request)
    alone = group >= len(has_positive)
    alone[~alone] = ~has_positive[group[~alone]]
    for reason, left in (
        (LATER, rows.later),
        (HELD_OUT, rows.held_out),
        (ALONE, alone),
    ):
        found = kept[~left[kept]]
        counts[reason] += len(kept) - len(found)
        kept = found
    own = group[kept].astype(np.int64)
    return Entries(own, rows.item[kept], weight[kept], rows.stage[kept])


def _row_weights(rows: FunnelColumns, rule: PoolRule) -> np.ndarray:
    """Return the weight of each row [rows] float64, 0 where no stage selects it."""
    out = np.zeros(len(rows.stage))
    weights = rule.weights or (1.0,) * len(rule.stages)
    for (name, first, end), weight in zip(rule.stages, weights, strict=True):
        selected = rows.stage == Stage[name.upper()]
        if first or end is not None:
            if rows.rank is None:
                raise InputError(
                    f"negatives.hard.stages={_texts(rule.stages)} takes a window of "
                    "ranks, and the log has no ranks; set data.columns.rank, or leave "
                    f"the window out: {name}"
                )
            selected &= rows.rank >= max(first, 0)
            if end is not None:
                selected &= rows.rank < end
        out[selected] += weight
    return out


def _groups(rule: PoolRule, user: np.ndarray, request: np.ndarray | None) -> np.ndarray:
    """Return users or requests, those of the rule: rows of one group share a pool."""
    if rule.pool == "user":
        return user
    if request is None:
        raise InputError(
            f"negatives.hard.pool={rule.pool} needs the request of each row, and the "
            "log has none; set data.columns.request, or negatives.hard.pool=user"
        )
    return request


def _texts(stages: Stages) -> list[str]:
    """Return stages as they are written in a configuration."""
    return [n if end is None else f"{n}:{first}-{end}" for n, first, end in stages]


def _no_rows(rows: FunnelRows, stages: Stages) -> InputError:
    of_parts = [np.bincount(one.stage, minlength=len(Stage)) for one in rows.parts()]
    counts = np.sum(of_parts, axis=0)
    present = [f"{s.name.lower()} ({counts[s]:,})" for s in Stage if counts[s]]
    return InputError(
        f"negatives.hard.stages={_texts(stages)} selects no row of the log, whose rows "
        f"by furthest stage are: {', '.join(present)}; choose stages (and ranks) that "
        "it has, or negatives/hard=mined or dns, which need no stages"
    )


def _no_pools(rule: PoolRule, report: dict[str, int]) -> InputError:
    counts = ", ".join(f"{name}: {number:,}" for name, number in report.items())
    remedy = "choose other negatives.hard.stages"
    if rule.pool == "request":
        remedy += ", or negatives.hard.pool=user"
    return InputError(
        f"negatives.hard.pool={rule.pool} with negatives.hard.stages="
        f"{_texts(rule.stages)} gives no training positive a hard negative "
        f"({counts}); {remedy}"
    )
