"""EASE: a linear model of each item on all other items, in closed form."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import get_lapack_funcs

from twotower_jax.config.baseline import BaselineConfig
from twotower_jax.model.click_matrix import Clicks, binary

BLOCK = 512  # rows of the item matrix that are handled at a time


def ease(
    clicks: Clicks, numbers: BaselineConfig, seed: int
) -> Callable[[Clicks], np.ndarray]:
    """Scores X B of histories X, with the weights B of the ridge regression

      min_B |X - X B|^2 + l2 |B|^2   subject to   diag(B) = 0
      B_ij = -P_ij / P_jj,   P = (X' X + l2 I)^-1

    Items without a click have no weights; their score is 0.

    Args:
      clicks: [users, items].
      numbers: its ``ease.l2``.
      seed: not used.

    Returns:
      histories [n, items] -> scores [n, items] float32.

    References:
      Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019.
    """
    del seed
    clicks = binary(clicks)
    present = np.flatnonzero(clicks.sum(axis=0))
    weights = ease_weights(clicks[:, present], numbers.ease.l2)

    def scores(history: Clicks) -> np.ndarray:
        known = binary(history)[:, present].astype(np.float32)
        out = np.zeros(history.shape, np.float32)
        out[:, present] = known @ weights
        return out

    return scores


def ease_weights(clicks: Clicks, l2: float) -> np.ndarray:
    """Return B [items, items] float32 with a diagonal of 0.

    The inverse replaces the matrix of counts in place, so the largest arrays are that
    one of 8 bytes per pair of items and B of 4.

    Args:
      clicks: [users, items], 0 or 1.
      l2: weight of the squared coefficients, above 0.
    """
    num_items = clicks.shape[1]
    by_item = clicks.T.tocsr()
    matrix = np.empty((num_items, num_items), order="F")
    for first in range(0, num_items, BLOCK):
        rows = slice(first, first + BLOCK)
        matrix[:, rows] = (by_item[rows] @ clicks).toarray().T
    matrix[np.diag_indices(num_items)] += l2
    factor, invert = get_lapack_funcs(("potrf", "potri"), (matrix,))
    matrix, info = factor(matrix, lower=1, overwrite_a=1)
    if info == 0:
        matrix, info = invert(matrix, lower=1, overwrite_c=1)
    if info:
        raise np.linalg.LinAlgError(f"the Cholesky factor has no entry {info}")
    return _weights(matrix)


def _weights(inverse: np.ndarray) -> np.ndarray:
    """Return -P_ij / P_jj float32 from the lower triangle of P; 0 on the diagonal."""
    num_items, own = len(inverse), np.diag(inverse).copy()
    weights = np.empty((num_items, num_items), np.float32)
    for first in range(0, num_items, BLOCK):
        rows = slice(first, first + BLOCK)
        # A row of the lower triangle, and the column that is its rest.
        weights[rows, :first] = inverse[rows, :first]
        corner = np.tril(inverse[rows, rows])
        weights[rows, rows] = corner + np.tril(corner, -1).T
        weights[rows, first + BLOCK :] = inverse[first + BLOCK :, rows].T
        weights[rows] /= -own
    weights[np.diag_indices(num_items)] = 0
    return weights


def ease_excess(clicks: Clicks, numbers: BaselineConfig) -> str | None:
    """Return the limit that the fit would exceed, None within it.

    Args:
      clicks: [users, items].
      numbers: its ``ease.max_items``.
    """
    present, limit = len(np.unique(clicks.indices)), numbers.ease.max_items
    if present <= limit:
        return None
    return (
        f"ease inverts a matrix of {present:,} x {present:,} items "
        f"({12 * present**2 / 2**30:,.1f} GiB), above baseline.ease.max_items={limit}; "
        "raise it to fit all the same"
    )
