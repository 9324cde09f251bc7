"""Metrics by the popularity of what should have been found, and their means."""

from collections.abc import Mapping, Sequence

import numpy as np

from twotower_jax.evaluation.metrics import ranking_metrics
from twotower_jax.evaluation.ragged import Ragged

BUCKETS = ("head", "mid", "tail")


def popularity_buckets(counts: np.ndarray) -> np.ndarray:
    """Divide the catalogue into head, mid and tail of a third of the clicks each.

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
    items: np.ndarray, positives: Ragged, buckets: np.ndarray, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return the ranking metrics with the positives of one bucket at a time.

    The lists stay as they are: an item of another bucket keeps its rank and counts
    as a miss.

    Args:
      items: [Q, K] integers, best first, negative where a list is short.
      positives: a row a query.
      buckets: int [I], see ``popularity_buckets``.
      ks: cutoffs, each in 1..K.

    Returns:
      {"recall@20/head": float64 [Q], ...}; NaN where the query has no positive in
      the bucket.

    Raises:
      ValueError: as ``ranking_metrics``, or when a positive has no bucket.
    """
    largest = positives.items.max(initial=-1)
    if largest >= len(buckets):
        raise ValueError(
            f"positives must be below the number of buckets, {len(buckets)}, got "
            f"{largest}"
        )
    bucket = np.asarray(buckets)[positives.items]
    values: dict[str, np.ndarray] = {}
    for code, name in enumerate(BUCKETS):
        part = ranking_metrics(items, _keep(positives, bucket == code), ks)
        values |= {f"{metric}/{name}": value for metric, value in part.items()}
    return values


def mean(values: np.ndarray) -> float:
    """Return sum / count of the values [Q] that are not NaN; NaN if there are none."""
    values = np.asarray(values, dtype=np.float64)
    kept = values[~np.isnan(values)]
    return float(kept.sum() / len(kept)) if len(kept) else float("nan")


def summarise(per_query: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the mean over queries of each metric, see ``mean``."""
    return {name: mean(values) for name, values in per_query.items()}


def _keep(ragged: Ragged, kept: np.ndarray) -> Ragged:
    """Return the rows with only the items where kept bool [nnz] is true."""
    before = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
    return Ragged(before[ragged.offsets], ragged.items[kept])
