"""Ranking metrics, a value for each query, and metrics of the recommended catalogue.

Lists must come from the whole catalogue. Metrics computed among a sample of items
order methods differently from the exact ones, even in expectation (Krichene & Rendle,
On Sampled Metrics for Item Recommendation, KDD 2020).
"""

from collections.abc import Sequence

import numpy as np

from twotower_jax.evaluation.ragged import Ragged

# The ranking metrics, without their cutoffs.
METRICS = ("recall", "capped_recall", "ndcg", "mrr", "hit_rate", "map")


def ranking_metrics(
    items: np.ndarray, positives: Ragged, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return every ranking metric of every query, at every cutoff.

    With hit(r) = 1 if the item at rank r = 1, 2, ... is a positive, P the number of
    positives, hits(k) = hit(1) + ... + hit(k) and m = min(k, P):

      recall@k         hits(k) / P
      capped_recall@k  hits(k) / m, which a perfect list brings to 1 also for P > k
      ndcg@k           sum_{r<=k} hit(r)/log2(r+1)  /  sum_{r<=m} 1/log2(r+1)
      mrr@k            1 / (rank of the first hit), 0 without a hit in the first k
      hit_rate@k       1 if hits(k) > 0, else 0
      map@k            sum_{r<=k} hit(r) hits(r)/r  /  m

    Dividing map@k by m makes a perfect list score 1; trec_eval's map_cut divides by P.

    Args:
      items: [Q, K] integers, best first; a negative item fills a short list and is
        a miss.
      positives: a row a query; a repeated item counts once.
      ks: cutoffs, each in 1..K.

    Returns:
      {"recall@20": float64 [Q], ...}. A query without positives has NaN everywhere:
      it has no value, and counts in no mean.

    Raises:
      ValueError: when the shapes or a cutoff do not fit, or a list contains a
        positive twice.

    Examples:
      >>> positives = Ragged(np.array([0, 3]), np.array([4, 7, 9]))
      >>> values = ranking_metrics(np.array([[7, 1]]), positives, [2])
      >>> round(float(values["recall@2"][0]), 4), float(values["mrr@2"][0])
      (0.3333, 1.0)

    References:
      Järvelin & Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, TOIS
      2002 (ndcg). Krichene & Rendle, KDD 2020 (why no sampling).
    """
    items = np.asarray(items)
    if items.ndim != 2 or len(items) != positives.num_rows:
        raise ValueError(
            f"items must be [queries, K] for {positives.num_rows} rows of positives, "
            f"got {items.shape}"
        )
    _check_cutoffs(ks, items.shape[1])
    hit, num_positives = _hits(items[:, : max(ks)], positives)
    ranks = np.arange(1, hit.shape[1] + 1, dtype=np.float64)
    hits = np.cumsum(hit, axis=1, dtype=np.float64)
    gain = np.cumsum(hit / np.log2(ranks + 1), axis=1)
    ideal = np.cumsum(1 / np.log2(ranks + 1))
    precision = np.cumsum(hit * hits / ranks, axis=1)
    first = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, np.inf)
    empty = num_positives == 0
    values: dict[str, np.ndarray] = {}
    for k in ks:
        # One in place of zero keeps empty rows free of 0/0 until they become NaN.
        reachable = np.clip(num_positives, 1, k)
        values[f"recall@{k}"] = hits[:, k - 1] / np.maximum(num_positives, 1)
        values[f"capped_recall@{k}"] = hits[:, k - 1] / reachable
        values[f"ndcg@{k}"] = gain[:, k - 1] / ideal[reachable - 1]
        values[f"mrr@{k}"] = np.where(first <= k, 1 / first, 0.0)
        values[f"hit_rate@{k}"] = (first <= k).astype(np.float64)
        values[f"map@{k}"] = precision[:, k - 1] / reachable
    return {name: np.where(empty, np.nan, value) for name, value in values.items()}


def catalogue_metrics(
    items: np.ndarray, counts: np.ndarray, ks: Sequence[int]
) -> dict[str, float]:
    """Return what the lists of all queries together do to the catalogue.

    With n(i) the number of lists whose first k contain item i, I items, N = sum n(i),
    and n sorted ascending as n_1 <= ... <= n_I:

      coverage@k  share of the catalogue with n(i) > 0
      gini@k      sum_j (2j - I - 1) n_j / (I N): 0 when all items are recommended
                  equally often, (I - 1)/I when only one is
      arp@k       average recommendation popularity, sum_i n(i) counts(i) / N

    Args:
      items: [Q, K] integers; negative items fill short lists and are left out.
      counts: [I] training interactions of each item.
      ks: cutoffs, each in 1..K.

    Returns:
      {"coverage@20": float, ...}; gini and arp are NaN when nothing is recommended.

    Raises:
      ValueError: when a cutoff is out of range or an item is not in the catalogue.

    References:
      Yin et al., Challenging the Long Tail Recommendation, VLDB 2012 (popularity of
      recommendations).
    """
    items, counts = np.asarray(items), np.asarray(counts, dtype=np.float64)
    if items.ndim != 2 or counts.ndim != 1 or len(counts) == 0:
        raise ValueError(
            f"items must be [queries, K] and counts [items], got {items.shape} and "
            f"{counts.shape}"
        )
    _check_cutoffs(ks, items.shape[1])
    if items.size and items.max() >= len(counts):
        raise ValueError(
            f"items must be below the number of counts, {len(counts)}, got "
            f"{items.max()}"
        )
    size = len(counts)
    weights = 2 * np.arange(1, size + 1, dtype=np.float64) - size - 1
    values: dict[str, float] = {}
    for k in ks:
        shown = items[:, :k]
        times = np.bincount(shown[shown >= 0], minlength=size)
        total = int(times.sum())
        values[f"coverage@{k}"] = float(np.count_nonzero(times) / size)
        values[f"gini@{k}"] = values[f"arp@{k}"] = float("nan")
        if total:
            values[f"gini@{k}"] = float(weights @ np.sort(times) / (size * total))
            values[f"arp@{k}"] = float(times @ counts / total)
    return values


def _hits(items: np.ndarray, positives: Ragged) -> tuple[np.ndarray, np.ndarray]:
    """Return hits bool [Q, K] and the number of distinct positives int64 [Q].

    One binary search among the sorted keys row * span + item serves all queries.
    """
    span = int(max(items.max(initial=0), positives.items.max(initial=0))) + 1
    keys = np.unique(positives.rows * span + positives.items)
    num_positives = np.bincount(keys // span, minlength=len(items))
    if len(keys) == 0:
        return np.zeros(items.shape, bool), num_positives
    wanted = np.arange(len(items), dtype=np.int64)[:, None] * span + items
    # A negative item would borrow the key of the row above.
    wanted = np.where(items < 0, -1, wanted)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    hit = keys[at] == wanted
    found = at[hit]
    if len(np.unique(found)) < len(found):
        raise ValueError("items contain a positive twice in the list of one query")
    return hit, num_positives


def _check_cutoffs(ks: Sequence[int], width: int) -> None:
    """Raise ValueError unless there are cutoffs and all are in 1..width."""
    if len(ks) == 0 or min(ks) < 1 or max(ks) > width:
        raise ValueError(f"cutoffs must be in 1..{width}, got {list(ks)}")
