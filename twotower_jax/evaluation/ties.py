"""Queries whose best items all have one score: the model does not tell items apart.

Equal scores are ordered by lower item index, which is the order in which items appear
in a log: popular items come early. Where a whole list is tied, that order alone would
be evaluated, and look like a model.
"""

import numpy as np

from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.evaluation.scorers import Embeddings

BLOCK = 256  # queries whose scores are held at a time
NEAR = 1e-6  # relative; scores of equal vectors may round so far apart


def tied_queries(scores: np.ndarray) -> np.ndarray:
    """Return [Q] whether the scores of a list are all equal.

    Args:
      scores: [Q, k] float, best first; -inf in places without an item.

    Examples:
      >>> tied_queries(np.array([[1.0, 1.0], [1.0, 0.5]])).tolist()
      [True, False]
      >>> tied_queries(np.array([[1.0], [2.0]])).tolist()  # nothing to compare
      [False, False]
    """
    if scores.shape[1] < 2:
        return np.zeros(len(scores), bool)
    return np.isfinite(scores[:, 0]) & (scores[:, 0] == scores[:, -1])


def without_order(
    embedded: Embeddings, items: np.ndarray, tied: np.ndarray, seen: Ragged | None
) -> np.ndarray:
    """Return lists whose tied ones have the tied items in a fixed random order.

    Args:
      items: [Q, k] int, the lists.
      tied: [Q] bool, of `tied_queries`.

    Returns:
      [Q, k] int; the lists that are not tied are unchanged.
    """
    queries, candidates = (np.asarray(one, np.float32) for one in embedded)
    order = np.random.default_rng(0).permutation(len(candidates))
    found, k = items.copy(), items.shape[1]
    rows = np.flatnonzero(tied)
    for first in range(0, len(rows), BLOCK):
        some = rows[first : first + BLOCK]
        scores = queries[some] @ candidates.T
        if seen is not None:
            for line, row in enumerate(some):
                left_out = seen.items[seen.offsets[row] : seen.offsets[row + 1]]
                scores[line, left_out] = -np.inf
        best = scores.max(axis=1, keepdims=True)
        equal = scores >= best - NEAR * np.maximum(np.abs(best), 1)
        place = np.where(equal, order, len(order))
        found[some] = np.argsort(place, axis=1)[:, :k]
    return found
