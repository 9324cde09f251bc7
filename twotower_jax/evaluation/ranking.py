"""Ranking metrics: one value per query, from the places of its positives in its list.

In all of them k is the length of the list, hit(r) = 1 if the item at rank r = 1..k is a
positive, P the number of positives, and m = min(k, P) the hits of a perfect list.
"""

from typing import NamedTuple

import numpy as np

from twotower_jax.evaluation.ragged import Ragged


class Hits(NamedTuple):
    """The places of the positives in the first k items of every list.

    Attributes:
      hit: [Q, k] bool, whether the item at a rank is a positive; best rank first.
      num_positives: [Q] int64, positives of each query, at least 1. Queries without a
        positive hold 1 here; their values become NaN afterwards.
      weight: [Q, k] float64, weight of the positive at a rank as a target, anything at
        a miss; or one number for all.
    """

    hit: np.ndarray
    num_positives: np.ndarray
    weight: np.ndarray | float = 1.0

    @property
    def ranks(self) -> np.ndarray:
        """[k] float64: 1, 2, ..., k."""
        return np.arange(1, self.hit.shape[1] + 1, dtype=np.float64)

    @property
    def reachable(self) -> np.ndarray:
        """[Q] int64: m, the hits of a perfect list."""
        return np.minimum(self.num_positives, self.hit.shape[1])


def match_positives(
    items: np.ndarray, positives: Ragged
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the positives in lists, and the number of distinct positives.

    One binary search among the sorted keys row * span + item serves all queries.

    Args:
      items: [Q, K] integers, best first; a negative item is a miss.
      positives: one row per query; a repeated item counts once.

    Returns:
      hits [Q, K] bool and numbers [Q] int64.

    Raises:
      ValueError: when a list contains a positive twice.

    Examples:
      >>> positives = Ragged(np.array([0, 3]), np.array([4, 7, 7]))
      >>> hit, number = match_positives(np.array([[7, 1]]), positives)
      >>> hit.tolist(), number.tolist()
      ([[True, False]], [2])
    """
    span = int(max(items.max(initial=0), positives.items.max(initial=0))) + 1
    keys = np.unique(positives.rows * span + positives.items)
    num_positives = np.bincount(keys // span, minlength=len(items))
    if len(keys) == 0:
        return np.zeros(items.shape, bool), num_positives
    listed = np.arange(len(items), dtype=np.int64)[:, None] * span + items
    # A negative item would borrow the key of the row above.
    listed = np.where(items < 0, -1, listed)
    place = np.minimum(np.searchsorted(keys, listed), len(keys) - 1)
    hit = keys[place] == listed
    matches = place[hit]
    if len(np.unique(matches)) < len(matches):
        raise ValueError("items contain a positive twice in the list of one query")
    return hit, num_positives


def recall(hits: Hits) -> np.ndarray:
    """Share of the positives that are listed: sum_r hit(r) / P.

    A perfect list has k / P < 1 where P > k; see `capped_recall`.

    Args:
      hits: of the first k items.

    Returns:
      [Q] float64 in [0, 1].

    Examples:
      >>> recall(Hits(np.array([[True, False]]), np.array([4])))
      array([0.25])
    """
    return hits.hit.sum(axis=1) / hits.num_positives


def ips_recall(hits: Hits) -> np.ndarray:
    """Recall with weights of the positives: sum_r hit(r) w(r) / P.

    The weights are clipped inverse propensities with the mean 1 over the split, see
    `propensity.inverse_propensities`; the mean over queries estimates the recall of a
    log in which every item had been shown equally often. One query's value can exceed
    1.

    Returns:
      [Q] float64, not negative.

    Examples:
      >>> weight = np.array([[0.5, 1.5]])
      >>> ips_recall(Hits(np.array([[False, True]]), np.array([3]), weight))
      array([0.5])
    """
    return (hits.hit * hits.weight).sum(axis=1) / hits.num_positives


def capped_recall(hits: Hits) -> np.ndarray:
    """Hits over those of a perfect list: sum_r hit(r) / m, 1 at best for any P.

    Examples:
      >>> capped_recall(Hits(np.array([[True, False]]), np.array([4])))
      array([0.5])
    """
    return hits.hit.sum(axis=1) / hits.reachable


def ndcg(hits: Hits) -> np.ndarray:
    """Discounted gain over that of a perfect list.

      sum_{r<=k} hit(r) / log2(r + 1)  /  sum_{r<=m} 1 / log2(r + 1)

    Args:
      hits: of the first k items.

    Returns:
      [Q] float64 in [0, 1].

    Examples:
      >>> ndcg(Hits(np.array([[False, False, True]]), np.array([1])))
      array([0.5])

    References:
      Järvelin & Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, TOIS
      2002.
    """
    discount = np.log2(hits.ranks + 1)
    # Running sums add from rank 1 on, so a cutoff does not change the rounding.
    gain = np.cumsum(hits.hit / discount, axis=1)[:, -1]
    return gain / np.cumsum(1 / discount)[hits.reachable - 1]


def mrr(hits: Hits) -> np.ndarray:
    """Reciprocal rank: 1 / (rank of the first hit), 0 without a hit.

    Examples:
      >>> mrr(Hits(np.array([[False, True, True], [False] * 3]), np.array([2, 2])))
      array([0.5, 0. ])
    """
    first = hits.hit.argmax(axis=1) + 1.0
    return np.where(hits.hit.any(axis=1), 1 / first, 0.0)


def hit_rate(hits: Hits) -> np.ndarray:
    """Whether any positive is listed: 1 or 0.

    Examples:
      >>> hit_rate(Hits(np.array([[False, True, True], [False] * 3]), np.array([2, 2])))
      array([1., 0.])
    """
    return np.where(hits.hit.any(axis=1), 1.0, 0.0)


def average_precision(hits: Hits) -> np.ndarray:
    """Mean over m of the precision at each hit: sum_r hit(r) hits(r) / r  /  m.

    hits(r) = hit(1) + ... + hit(r). The division by m gives a perfect list the value 1;
    trec_eval's map_cut divides by P.

    Args:
      hits: of the first k items.

    Returns:
      [Q] float64 in [0, 1].

    Examples:
      >>> average_precision(Hits(np.array([[False, True, True]]), np.array([3])))
      array([0.38888889])
    """
    running = np.cumsum(hits.hit, axis=1, dtype=np.float64)
    precision = hits.hit * running / hits.ranks
    return np.cumsum(precision, axis=1)[:, -1] / hits.reachable
