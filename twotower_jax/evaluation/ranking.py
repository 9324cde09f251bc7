"""Metrics: functions of the lists of queries and of the evidence for them.

In metrics of ranks k is the length of the list, hit(r) = 1 if the item at rank r = 1..k
is a positive, P the number of positives, and m = min(k, P) the hits of a perfect list.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twotower_jax.data import concentration
from twotower_jax.evaluation.ragged import Ragged


class Hits(NamedTuple):
    """The places of the positives in the first k items of every list."""

    hit: np.ndarray  # [Q, k] bool, whether the item at a rank is a positive
    num_positives: np.ndarray  # [Q] int64, 1 without any: the values become NaN
    weight: np.ndarray | float = 1.0  # [Q, k] float64 weight of the positive at a rank

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
    """Hits [Q, K] bool of the positives in lists, and their distinct numbers [Q] int64.

    Args:
      items: [Q, K] integers, best first; a negative item is a miss.
      positives: one row per query; a repeated item counts once.

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
    """Share of the positives that are listed: sum_r hit(r) / P, [Q] float64 in [0, 1].

    A perfect list has k / P < 1 where P > k; see `capped_recall`.

    Examples:
      >>> recall(Hits(np.array([[True, False]]), np.array([4])))
      array([0.25])
    """
    return hits.hit.sum(axis=1) / hits.num_positives


def ips_recall(hits: Hits) -> np.ndarray:
    """Recall with the weights of `inverse_propensities`: sum_r hit(r) w(r) / P.

    The mean over queries estimates the recall of a log that had shown all items alike.
    """
    return (hits.hit * hits.weight).sum(axis=1) / hits.num_positives


def capped_recall(hits: Hits) -> np.ndarray:
    """Hits over those of a perfect list: sum_r hit(r) / m, 1 at best for any P."""
    return hits.hit.sum(axis=1) / hits.reachable


def ndcg(hits: Hits) -> np.ndarray:
    """Discounted gain over that of a perfect list, [Q] float64 in [0, 1].

      sum_{r<=k} hit(r) / log2(r + 1)  /  sum_{r<=m} 1 / log2(r + 1)

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
    """Reciprocal rank: 1 / (rank of the first hit), 0 without a hit."""
    first = hits.hit.argmax(axis=1) + 1.0
    return np.where(hits.hit.any(axis=1), 1 / first, 0.0)


def hit_rate(hits: Hits) -> np.ndarray:
    """Whether any positive is listed: 1 or 0."""
    return np.where(hits.hit.any(axis=1), 1.0, 0.0)


def average_precision(hits: Hits) -> np.ndarray:
    """Mean over m of the precision at each hit: sum_r hit(r) hits(r) / r  /  m.

    hits(r) = hit(1) + ... + hit(r); trec_eval's map_cut divides by P in place of m.

    Examples:
      >>> average_precision(Hits(np.array([[False, True, True]]), np.array([3])))
      array([0.38888889])
    """
    running = np.cumsum(hits.hit, axis=1, dtype=np.float64)
    precision = hits.hit * running / hits.ranks
    return np.cumsum(precision, axis=1)[:, -1] / hits.reachable


# --- weights of positives by how rarely their items are shown -------------------------


def inverse_propensities(
    counts: np.ndarray, positives: Ragged, power: float, clip: float
) -> np.ndarray:
    """Weight of every item as a positive of a split, 1 on average, [I] float64.

      v_i = max(n_i, 1)^-power,   w_i ∝ min(v_i, clip * mean(v))

    The propensity, that a click was observed given that the user would click, is taken
    to be a power of the item's clicks n_i in training. The mean over the split is that
    of recall: over the positives of each query, then over the queries. So a list that
    contains all positives has an ``ips_recall`` of 1 on average, and equal weights give
    recall. The price: a query whose relevant items are rarely shown counts more than
    others.

    References:
      Yang et al., Unbiased Offline Recommender Evaluation for Missing-Not-At-Random
      Implicit Feedback, RecSys 2018 (the power (gamma + 1) / 2, gamma from 1.5 to 3);
      Saito et al., Unbiased Recommender Learning from Missing-Not-At-Random Implicit
      Feedback, WSDM 2020 (the power 1/2, clipped); Swaminathan & Joachims, The
      Self-Normalized Estimator for Counterfactual Learning, NeurIPS 2015.
    """
    weights = np.maximum(np.asarray(counts, np.float64), 1.0) ** -power
    weights = np.minimum(weights, clip * _mean_weight(weights, positives))
    return weights / _mean_weight(weights, positives)


def _mean_weight(weights: np.ndarray, positives: Ragged) -> float:
    """Return the mean over queries of the mean over the positives of each query."""
    number = positives.sizes[positives.rows]
    queries = np.count_nonzero(positives.sizes)
    return float((weights[positives.items] / number).sum() / queries)


# --- positives against other items ----------------------------------------------------


class Contest(NamedTuple):
    """Positives and other items of queries, and the scores of both."""

    score: Callable[[Ragged], np.ndarray]  # items -> their scores [nnz] float64
    positives: Ragged  # one row per query
    others: Ragged  # the items to separate them from, one row per query


def query_auc(contest: Contest) -> np.ndarray:
    """Share of the (positive, other) pairs of each query that are ordered rightly, [Q].

    A tie counts 1/2; NaN where the query lacks one of the two.

    References:
      Hanley & McNeil, The Meaning and Use of the Area under a ROC Curve, Radiology
      1982.
    """
    positives, others = contest.positives, contest.others
    num_queries = positives.num_rows
    if others.num_rows != num_queries:
        raise ValueError(
            f"{num_queries} rows of positives, but {others.num_rows} of others"
        )
    right, left = contest.score(positives), contest.score(others)
    row = np.concatenate([positives.rows, others.rows])
    score = np.concatenate([right, left])
    order = np.lexsort((score, row))
    row, score = row[order], score[order]
    is_positive = order < len(right)
    # Twice the mean rank of each run of equal scores within a query, from 0.
    begins = np.ones(len(row), bool)
    begins[1:] = (row[1:] != row[:-1]) | (score[1:] != score[:-1])
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(row))
    run = np.cumsum(begins) - 1
    first = np.concatenate([[0], np.cumsum(positives.sizes + others.sizes)])[row]
    twice_rank = starts[run] + ends[run] - 1 - 2 * first
    total = np.bincount(row[is_positive], twice_rank[is_positive], num_queries)
    p, n = positives.sizes.astype(np.float64), others.sizes.astype(np.float64)
    wins = total / 2 - p * (p - 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((p > 0) & (n > 0), wins / (p * n), np.nan)


# --- true clicks ----------------------------------------------------------------------


class Clicks(NamedTuple):
    """P(click | looked at) of the first k items of each list, and of the best list."""

    listed: np.ndarray  # [Q, k] float64, of the items of the list; NaN beyond its end
    best: np.ndarray  # [Q, k] float64, of the items most probably clicked


def true_ctr(clicks: Clicks) -> np.ndarray:
    """Mean probability of a click on the items of the list; NaN for an empty list."""
    with np.errstate(invalid="ignore"):
        return np.nanmean(clicks.listed, axis=1)


def true_gain(clicks: Clicks) -> np.ndarray:
    """Click probability of the list over that of the best list; 1 is perfect."""
    with np.errstate(invalid="ignore"):
        return true_ctr(clicks) / np.nanmean(clicks.best, axis=1)


# --- the lists of all queries together ------------------------------------------------


class Exposure(NamedTuple):
    """How often each of I items is listed, and its training interactions."""

    times: np.ndarray  # [I] int64, lists whose first k items contain the item
    counts: np.ndarray  # [I] float64, training interactions of the item


def coverage(exposure: Exposure) -> float:
    """Share of the catalogue that is in at least one list."""
    return float(np.count_nonzero(exposure.times) / len(exposure.times))


def gini(exposure: Exposure) -> float:
    """Gini coefficient of the lists per item, in 0..(I - 1) / I; NaN of empty lists."""
    if not exposure.times.any():
        return float("nan")
    return concentration.gini(exposure.times)


def arp(exposure: Exposure) -> float:
    """Average recommendation popularity sum_i times_i counts_i / sum_i times_i, or NaN.

    References:
      Yin et al., Challenging the Long Tail Recommendation, VLDB 2012.
    """
    total = int(exposure.times.sum())
    return float(exposure.times @ exposure.counts / total) if total else float("nan")
