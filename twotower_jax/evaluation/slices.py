"""Metrics by the popularity of the positives, and means over queries."""

from collections.abc import Mapping, Sequence

import numpy as np

from twotower_jax.evaluation.metrics import (
    BUCKETS,
    Metric,
    of_scope,
    ranking_metrics,
)
from twotower_jax.evaluation.ragged import Ragged


def popularity_buckets(counts: np.ndarray) -> np.ndarray:
    """Head, mid and tail of the catalogue, with a third of the clicks each.

    Items are sorted by count, largest first (equal counts: lower index first), and
    laid end to end on a line of all clicks that is cut into three equal parts. An
    item belongs to the part in which it begins, so that an item across a cut goes
    to the more popular side. An item without clicks is tail.

    Args:
      counts: [I] training clicks of each item, integers, not negative.

    Returns:
      int8 [I]: 0 head, 1 mid, 2 tail.

    Raises:
      ValueError: when a count is negative or not a whole number.

    Examples:
      >>> popularity_buckets(np.array([1, 4, 0, 2, 2])).tolist()
      [2, 0, 2, 1, 2]
    """
    given = np.asarray(counts)
    counts = given.astype(np.int64)
    if given.ndim != 1 or np.any(counts != given) or np.any(counts < 0):
        raise ValueError("counts must be one whole number, at least 0, for each item")
    buckets = np.full(len(counts), 2, np.int8)
    order = np.argsort(-counts, kind="stable")
    order = order[: np.count_nonzero(counts)]
    before = np.cumsum(counts[order]) - counts[order]
    # Whole numbers: an item that begins exactly at a cut is never rounded across.
    buckets[order] = 3 * before // max(int(counts.sum()), 1)
    return buckets


def sliced_metrics(
    items: np.ndarray,
    positives: Ragged,
    buckets: np.ndarray,
    ks: Sequence[int],
    metrics: Mapping[str, Metric] | None = None,
) -> dict[str, np.ndarray]:
    """Sliced metrics of every query: only the positives of one bucket are to be found.

    The lists stay as they are: an item of another bucket keeps its rank and counts
    as a miss.

    Args:
      items: [Q, K] integers, best first, negative where a list is short.
      positives: one row per query.
      buckets: [I] int, see `popularity_buckets`.
      ks: cutoffs, each in 1..K.
      metrics: metrics that are computed from `Hits`, those that are not sliced are
        left out; None: all of scope "query".

    Returns:
      {"recall@20/head": float64 [Q], ...}; NaN where the query has no positive in
      the bucket.

    Raises:
      ValueError: as `ranking_metrics`, or when a positive has no bucket.

    Examples:
      >>> positives = Ragged(np.array([0, 2]), np.array([0, 1]))
      >>> buckets = np.array([0, 2])
      >>> values = sliced_metrics(np.array([[0]]), positives, buckets, [1])
      >>> float(values["recall@1/head"][0]), float(values["recall@1/tail"][0])
      (1.0, 0.0)
    """
    largest = positives.items.max(initial=-1)
    if largest >= len(buckets):
        raise ValueError(
            f"positives must be below the number of buckets, {len(buckets)}, got "
            f"{largest}"
        )
    metrics = of_scope("query") if metrics is None else metrics
    sliced = {name: metric for name, metric in metrics.items() if metric.sliced}
    bucket = np.asarray(buckets)[positives.items]
    values: dict[str, np.ndarray] = {}
    for code, part in enumerate(BUCKETS):
        kept = _keep(positives, bucket == code)
        whole = ranking_metrics(items, kept, ks, sliced)
        values |= {f"{name}/{part}": value for name, value in whole.items()}
    return values


def mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there are none.

    Examples:
      >>> mean(np.array([1.0, np.nan, 0.0]))
      0.5
    """
    values = np.asarray(values, dtype=np.float64)
    kept = values[~np.isnan(values)]
    return float(kept.sum() / len(kept)) if len(kept) else float("nan")


def summarise(per_query: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean over queries of each metric, see `mean`.

    Args:
      per_query: {metric: [Q] float64}.

    Examples:
      >>> summarise({"recall@20": np.array([1.0, np.nan, 0.0])})
      {'recall@20': 0.5}
    """
    return {name: mean(values) for name, values in per_query.items()}


def _keep(ragged: Ragged, kept: np.ndarray) -> Ragged:
    """Return the rows with only the items where kept bool [nnz] is true."""
    before = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
    return Ragged(before[ragged.offsets], ragged.items[kept])
