"""Hard negatives of the log: the items that a stage of the funnel rejected, as pools.

A pool holds the items that reached a stage and no later one, in the request of a
positive or in all requests of its user, with the probability pi_u(j) of a draw. Rows
that training must not see are left out, see `funnel_rows`.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from twotower_jax.data.funnel_rows import FunnelColumns, FunnelRows
from twotower_jax.data.log import Stage
from twotower_jax.data.prepared.made import Room
from twotower_jax.errors import InputError
from twotower_jax.sampling.pool_arrays import (
    Entries,
    HardPools,
    in_memory,
    merge_entries,
    pad_parts,
)

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

    Args:
      rows: of the log, with the requests and ranks that the rule needs.
      rule: the rows that are hard negatives.
      num_items: size of the catalogue.
      seed: of the random subsets.
      room: returns the arrays to fill, by name, shape and type.

    Returns:
      The pools, none of them empty, and counts. The rows of the stages are the entries
      plus all that was left out, by reason.

    Raises:
      InputError: when the log has no requests or ranks where they are needed, no row of
        the stages, or none for any training positive.
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
    """Return users or requests, those of the rule: rows of one group share a pool.

    Raises:
      InputError: when the log has no requests and the rule needs them.
    """
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
        "it has, or negatives.hard.source=mined or dns, which need no stages"
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
