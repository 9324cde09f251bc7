"""AUC of each query: how well its scores part its positives from other items."""

import numpy as np

from twotower_jax.evaluation.ragged import Ragged


def query_auc(
    queries: np.ndarray,
    candidates: np.ndarray,
    positives: Ragged,
    others: Ragged,
) -> np.ndarray:
    """Return, for each query, the share of (positive, other) pairs scored rightly.

      auc = mean over pairs of [s(positive) > s(other)] + 1/2 [s(positive) = s(other)]

    the area under the ROC curve of the query's items (Hanley & McNeil, The Meaning and
    Use of the Area under a ROC Curve, Radiology 1982): what a binary classifier that
    is to tell the two kinds apart is worth; 1/2 is guessing.

    Args:
      queries: [Q, D] float.
      candidates: [I, D] float; the row is the item. Scores are dot products.
      positives: a row a query.
      others: the items to tell them from, a row a query.

    Returns:
      float64 [Q]; NaN where the query lacks one of the two.

    Raises:
      ValueError: when rows and queries differ in number.
    """
    if not positives.num_rows == others.num_rows == len(queries):
        raise ValueError(
            f"{len(queries)} queries, but {positives.num_rows} rows of positives and "
            f"{others.num_rows} of others"
        )
    right, left = (_scores(queries, candidates, part) for part in (positives, others))
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
    total = np.bincount(row[is_positive], twice_rank[is_positive], len(queries))
    p, n = positives.sizes.astype(np.float64), others.sizes.astype(np.float64)
    wins = total / 2 - p * (p - 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((p > 0) & (n > 0), wins / (p * n), np.nan)


def _scores(queries: np.ndarray, candidates: np.ndarray, pairs: Ragged) -> np.ndarray:
    """Return the dot products [nnz] of pairs, in blocks."""
    rows, out = pairs.rows, np.empty(len(pairs.items))
    block = max(1, (1 << 24) // max(1, queries.shape[1]))
    for i in range(0, len(rows), block):
        part = slice(i, i + block)
        left, right = queries[rows[part]], candidates[pairs.items[part]]
        out[part] = np.einsum("nd,nd->n", left, right, dtype=np.float64)
    return out
