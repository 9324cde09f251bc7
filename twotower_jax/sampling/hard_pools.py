"""Hard negatives of the log: what the stages of the funnel threw out, as pools.

A pool holds the items that reached a stage and no later one, in the request of a
positive or in all requests of its user, with the probability pi_u(j) of a draw. What a
pool may hold is decided here, once, with the whole log at hand:

* Rows that training could not have seen are left out. If the training positives are
  those of given parts of the data, the rows of other parts are. Else, if all held-out
  positives are later than all training positives (a temporal split), rows later than
  the last training positive are; under any other split, where each user has a history
  of their own, rows later than the last training positive of their user. Without times
  and parts there is no later, and only the next rule applies.
* Rows of a request in which a positive was held out are left out: its losers are what
  the held-out positive was better than. Where the log has no requests, they may be
  among the user's rows of the same time, so that these are left out.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax import keys
from twotower_jax.data.log import FunnelLog, Split, Stage
from twotower_jax.data.split import TRAIN, VALID
from twotower_jax.errors import InputError

Stages = tuple[tuple[str, int, int | None], ...]


class Pools(NamedTuple):
    """Pools of P requests or users, padded to the largest, of L items.

    Attributes:
      item: [P, L] int32 distinct items of a pool, num_items on padding (at the end).
      log_prob: [P, L] float32 log pi of a draw, ascending, -inf on padding; the
        probabilities of a pool sum to 1.
      of_row: [n] int32 pool of each training positive, -1 where it has none.
    """

    item: np.ndarray
    log_prob: np.ndarray
    of_row: np.ndarray


class _Entries(NamedTuple):
    """Entries of pools [entries], sorted by group (of a user or request) and item."""

    group: np.ndarray
    item: np.ndarray
    weight: np.ndarray


def make_pools(
    log: FunnelLog,
    split: Split,
    *,
    stages: Stages,
    weights: tuple[float, ...] = (),
    pool: str = "request",
    pool_size: int = 64,
    seed: int = 0,
) -> tuple[Pools, dict[str, int]]:
    """Return the pools of the training positives, and what was left out of them.

    Each row of the log is an entry with the weight of its stage, so that the chance of
    a stage is its weight times its number of entries in the pool. An item with several
    entries in a pool is one item with the sum of their weights, and
    pi_u(j) = w_j / sum_i w_i. A row that two of ``stages`` choose counts twice.

    A pool of more than ``pool_size`` items keeps a random subset of that size, each
    subset alike; the weights within it stay. The item of a positive can be in its own
    pool (of a user: thrown out once, clicked later); masks are for later.

    Args:
      log: with the requests and ranks that ``pool`` and ``stages`` need.
      split: of the same log.
      stages: (name, first rank, end rank) of the rows chosen: those whose furthest
        stage it is, with a rank in [first, end); (name, 0, None) for any rank, also an
        unknown one.
      weights: one above 0 a stage; none: all 1.
      pool: "request" (the items of the positive's own request) or "user" (those of all
        requests of its user).
      pool_size: items kept a pool at most.
      seed: of the subset.

    Returns:
      The pools, none of them empty, and counts. The rows of the stages are the entries
      plus all that was left out, by reason.

    Raises:
      InputError: the log has no requests or ranks where they are needed, no row of the
        stages, or none for any training positive.
    """
    weight = _row_weights(log, stages, weights)
    rows = np.flatnonzero(weight)
    if not len(rows):
        raise _no_rows(log, stages)
    report = {"rows of the stages": len(rows)}
    requests = _requests(log, split)
    if pool == "user":
        group, wanted = log.user.astype(np.int64), split.train.user.astype(np.int64)
    elif requests is not None:
        group, wanted = requests
    else:
        raise InputError(
            f"negatives.hard.pool={pool} needs the request of each row, and the log "
            "has none; set data.columns.request, or negatives.hard.pool=user"
        )
    for reason, keep in (
        ("rows later than training", _known(log, split)),
        ("rows of requests with a held-out positive", _trained(log, requests)),
        ("rows of no training positive", _present(wanted, group)),
    ):
        kept = rows[keep[rows]]
        report[reason] = len(rows) - len(kept)
        rows = kept
    if not len(rows):
        raise _no_pools(pool, stages, report)
    merged = _merge(group[rows], log.item[rows], weight[rows], log.num_items)
    entries = _cut(merged, pool_size, seed)
    report["rows of an item that its pool has already"] = len(rows) - len(merged.item)
    report["items cut by pool_size"] = len(merged.item) - len(entries.item)
    pools = _pad(entries, wanted, log.num_items)
    report["items in pools"] = len(entries.item)
    report["pools"] = len(pools.item)
    report["training positives without a pool"] = int((pools.of_row < 0).sum())
    return pools, report


def _row_weights(
    log: FunnelLog, stages: Stages, weights: tuple[float, ...]
) -> np.ndarray:
    """Return the weight of each row [rows] float64, 0 where no stage chooses it."""
    out = np.zeros(len(log.stage))
    for (name, first, end), weight in zip(
        stages, weights or (1.0,) * len(stages), strict=True
    ):
        chosen = log.stage == Stage[name.upper()]
        if first or end is not None:
            if log.rank is None:
                raise InputError(
                    f"negatives.hard.stages={_texts(stages)} takes a window of ranks, "
                    "and the log has no ranks; set data.columns.rank, or leave the "
                    f"window out: {name}"
                )
            chosen &= log.rank >= max(first, 0)
            if end is not None:
                chosen &= log.rank < end
        out[chosen] += weight
    return out


def _requests(log: FunnelLog, split: Split) -> tuple[np.ndarray, np.ndarray] | None:
    """Return codes, from 0, of the requests of rows [rows] and positives [n].

    A request is one of a user: two users may have the same number. None where the log
    has no requests.
    """
    if log.request is None or split.train.request is None:
        return None
    user = np.concatenate([log.user, split.train.user]).astype(np.int64)
    request = _codes(np.concatenate([log.request, split.train.request]))
    codes = _codes(user * (request.max() + 1) + request)
    return codes[: len(log.user)], codes[len(log.user) :]


def _codes(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value among the distinct ones, from 0, int64."""
    return pl.Series(values).rank("dense").cast(pl.Int64).to_numpy() - 1


def _known(log: FunnelLog, split: Split) -> np.ndarray:
    """Return whether training can know a row: [rows] bool (see the module)."""
    train = split.train
    given = _given(log, split)
    if given is not None:
        return given
    if log.time is None or train.time is None:
        return np.ones(len(log.user), bool)
    last = np.full(log.num_users, -np.inf)
    np.maximum.at(last, train.user, train.time)
    first = np.full(log.num_users, np.inf)
    for part in (split.valid, split.test):
        if part.time is not None:
            np.minimum.at(first, part.user, part.time)
    if first.min() > last.max():
        last[:] = last.max()
    known = log.time <= last[log.user]
    if log.request is None:
        known &= log.time < first[log.user]
    return known


def _given(log: FunnelLog, split: Split) -> np.ndarray | None:
    """Return the rows [rows] bool of the parts of the data that training is, or None.

    None where training is not all positives of the first part, or of it and the
    second (``data.fit_valid``).
    """
    if log.part is None:
        return None
    for last in (TRAIN, VALID):
        known = log.part <= last
        rows = known & (log.stage == Stage.CLICKED)
        if np.array_equal(log.user[rows], split.train.user) and np.array_equal(
            log.item[rows], split.train.item
        ):
            return known
    return None


def _trained(
    log: FunnelLog, requests: tuple[np.ndarray, np.ndarray] | None
) -> np.ndarray:
    """Return whether all positives of a row's request are training's: [rows] bool."""
    if requests is None:
        return np.ones(len(log.user), bool)
    request, wanted = requests
    clicks = np.bincount(
        request[log.stage == Stage.CLICKED], minlength=request.max() + 1
    )
    return (clicks == np.bincount(wanted, minlength=len(clicks)))[request]


def _present(wanted: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return whether a row's group is one of a training positive: [rows] bool."""
    return (np.bincount(wanted, minlength=group.max() + 1) > 0)[group]


def _merge(
    group: np.ndarray, item: np.ndarray, weight: np.ndarray, num_items: int
) -> _Entries:
    """Return one entry a group and item, with the sum of the weights."""
    # Numbers are packed into one and sorted, which is many times faster than argsort.
    levels, level = _levels(weight)
    packed = np.sort((group * num_items + item) * len(levels) + level)
    pair, level = np.divmod(packed, len(levels))
    first = np.flatnonzero(np.diff(pair, prepend=-1))
    group, item = np.divmod(pair[first], num_items)
    return _Entries(group, item, np.add.reduceat(levels[level], first))


def _levels(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct weights, ascending, and the place of each among them."""
    levels = np.unique(weight)
    return levels, np.searchsorted(levels, weight)


def _cut(entries: _Entries, pool_size: int, seed: int) -> _Entries:
    """Keep a random subset of pool_size entries of each group that has more."""
    sizes = np.bincount(entries.group)
    crowded = np.flatnonzero((sizes > pool_size)[entries.group])
    if not len(crowded):
        return entries
    group = entries.group[crowded]
    lot = group * len(crowded) + keys.generator(seed, "pools").permutation(len(crowded))
    last = _place(group) == pool_size - 1
    highest = np.zeros(len(sizes), np.int64)
    highest[group[last]] = np.sort(lot)[last]
    keep = np.ones(len(entries.group), bool)
    keep[crowded] = lot <= highest[group]
    return _Entries(*(values[keep] for values in entries))


def _place(group: np.ndarray) -> np.ndarray:
    """Return the place of each entry within its group, from 0; groups are sorted."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(starts, append=len(group))
    return np.arange(len(group)) - np.repeat(starts, sizes)


def _pad(entries: _Entries, wanted: np.ndarray, num_items: int) -> Pools:
    """Return the pools of entries, each ascending by weight and then by item.

    Ascending, so that sums of probabilities from the left keep the small ones exact.
    """
    levels, level = _levels(entries.weight)
    packed = (entries.group * len(levels) + level) * num_items + entries.item
    packed, item = np.divmod(np.sort(packed), num_items)
    group, level = np.divmod(packed, len(levels))
    weight = levels[level]
    place = _place(group)
    starts = np.flatnonzero(place == 0)
    number = np.cumsum(place == 0) - 1
    total = np.add.reduceat(weight, starts)
    shape = (len(starts), int(place.max()) + 1)
    items = np.full(shape, num_items, np.int32)
    log_prob = np.full(shape, -np.inf, np.float32)
    items[number, place] = item
    log_prob[number, place] = np.log(weight) - np.log(total[number])
    pool_of = np.full(wanted.max() + 1, -1, np.int32)
    pool_of[group[starts]] = np.arange(len(starts))
    return Pools(items, log_prob, pool_of[wanted])


def _texts(stages: Stages) -> list[str]:
    """Return stages as they are written in a configuration."""
    return [n if end is None else f"{n}:{first}-{end}" for n, first, end in stages]


def _no_rows(log: FunnelLog, stages: Stages) -> InputError:
    counts = np.bincount(log.stage, minlength=len(Stage))
    present = [f"{s.name.lower()} ({counts[s]:,})" for s in Stage if counts[s]]
    return InputError(
        f"negatives.hard.stages={_texts(stages)} chooses no row of the log, whose rows "
        f"by furthest stage are: {', '.join(present)}; choose stages (and ranks) that "
        "it has, or negatives.hard.source=mined or dns, which need no stages"
    )


def _no_pools(pool: str, stages: Stages, report: dict[str, int]) -> InputError:
    counts = ", ".join(f"{name}: {number:,}" for name, number in report.items())
    remedy = "choose other negatives.hard.stages"
    if pool == "request":
        remedy += ", or negatives.hard.pool=user"
    return InputError(
        f"negatives.hard.pool={pool} with negatives.hard.stages={_texts(stages)} gives "
        f"no training positive a hard negative ({counts}); {remedy}"
    )
