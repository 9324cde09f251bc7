"""AUC of each query: how well its scores separate its positives from other items."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twotower_jax.evaluation.ragged import Ragged


class Contest(NamedTuple):
    """Positives and other items of queries, and the scores of both.

    Attributes:
      score: items of each query -> their scores [nnz] float64, in the same order.
      positives: one row per query.
      others: the items to separate them from, one row per query.
    """

    score: Callable[[Ragged], np.ndarray]
    positives: Ragged
    others: Ragged


def query_auc(contest: Contest) -> np.ndarray:
    """Share of the (positive, other) pairs of each query that are ordered rightly.

      auc = mean over pairs of [s(positive) > s(other)] + 1/2 [s(positive) = s(other)]

    The area under the ROC curve of the items of the query: the quality of a binary
    classifier that separates the two kinds. 1/2 is guessing.

    Returns:
      [Q] float64; NaN where the query lacks one of the two.

    Raises:
      ValueError: when the two have different numbers of rows.

    Examples:
      >>> positives = Ragged(np.array([0, 1]), np.array([2]))
      >>> others = Ragged(np.array([0, 2]), np.array([0, 1]))
      >>> scores = np.array([1.0, 4.0, 2.0])
      >>> query_auc(Contest(lambda pairs: scores[pairs.items], positives, others))
      array([0.5])

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
