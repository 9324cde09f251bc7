"""Hard negatives of the log: the items that a stage of the funnel rejected, as pools.

A pool holds the items that reached a stage and no later one, in the request of a
positive or in all requests of its user, with the probability pi_u(j) of a draw. Rows
that training must not see are left out, see `visible_rows`.
"""

from typing import NamedTuple

import numpy as np

from twotower_jax.data.log import FunnelLog, Split, Stage
from twotower_jax.errors import InputError
from twotower_jax.sampling.pool_arrays import (
    Entries,
    HardPools,
    cut_entries,
    merge_entries,
    pad_entries,
)
from twotower_jax.sampling.visible_rows import (
    Groups,
    request_codes,
    rows_of_groups,
    rows_of_training_requests,
    visible_rows,
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


def make_pools(
    log: FunnelLog, split: Split, rule: PoolRule, seed: int = 0
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
      log: with the requests and ranks that the rule needs.
      split: of the same log.
      rule: the rows that are hard negatives.
      seed: of the random subsets.

    Returns:
      The pools, none of them empty, and counts. The rows of the stages are the entries
      plus all that was left out, by reason.

    Raises:
      InputError: when the log has no requests or ranks where they are needed, no row of
        the stages, or none for any training positive.
    """
    weight = _row_weights(log, rule)
    rows = np.flatnonzero(weight)
    if not len(rows):
        raise _no_rows(log, rule.stages)
    report = {"rows of the stages": len(rows)}
    requests = request_codes(log, split)
    groups = _groups(log, split, rule, requests)
    for reason, keep in (
        ("rows later than training", visible_rows(log, split)),
        (
            "rows of requests with a held-out positive",
            rows_of_training_requests(log, requests),
        ),
        (
            "rows of no training positive",
            rows_of_groups(groups.of_row, groups.of_positive),
        ),
    ):
        kept = rows[keep[rows]]
        report[reason] = len(rows) - len(kept)
        rows = kept
    if not len(rows):
        raise _no_pools(rule, report)
    found = Entries(groups.of_row[rows], log.item[rows], weight[rows], log.stage[rows])
    merged = merge_entries(found, log.num_items)
    entries = cut_entries(merged, rule.pool_size, seed)
    report["rows of an item that its pool has already"] = len(rows) - len(merged.item)
    report["items cut by pool_size"] = len(merged.item) - len(entries.item)
    pools = pad_entries(entries, groups.of_positive, log.num_items)
    report["items in pools"] = len(entries.item)
    report["pools"] = len(pools.item)
    report["training positives without a pool"] = int((pools.of_row < 0).sum())
    return pools, report


def _row_weights(log: FunnelLog, rule: PoolRule) -> np.ndarray:
    """Return the weight of each row [rows] float64, 0 where no stage selects it."""
    out = np.zeros(len(log.stage))
    weights = rule.weights or (1.0,) * len(rule.stages)
    for (name, first, end), weight in zip(rule.stages, weights, strict=True):
        selected = log.stage == Stage[name.upper()]
        if first or end is not None:
            if log.rank is None:
                raise InputError(
                    f"negatives.hard.stages={_texts(rule.stages)} takes a window of "
                    "ranks, and the log has no ranks; set data.columns.rank, or leave "
                    f"the window out: {name}"
                )
            selected &= log.rank >= max(first, 0)
            if end is not None:
                selected &= log.rank < end
        out[selected] += weight
    return out


def _groups(
    log: FunnelLog, split: Split, rule: PoolRule, requests: Groups | None
) -> Groups:
    """Return the groups that share a pool: users or requests.

    Raises:
      InputError: when the log has no requests and the rule needs them.
    """
    if rule.pool == "user":
        return Groups(log.user.astype(np.int64), split.train.user.astype(np.int64))
    if requests is None:
        raise InputError(
            f"negatives.hard.pool={rule.pool} needs the request of each row, and the "
            "log has none; set data.columns.request, or negatives.hard.pool=user"
        )
    return requests


def _texts(stages: Stages) -> list[str]:
    """Return stages as they are written in a configuration."""
    return [n if end is None else f"{n}:{first}-{end}" for n, first, end in stages]


def _no_rows(log: FunnelLog, stages: Stages) -> InputError:
    counts = np.bincount(log.stage, minlength=len(Stage))
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
