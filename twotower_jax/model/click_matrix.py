"""Clicks as a sparse matrix with a row per user and a column per item."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    # A type checker that reads the sources of scipy infers wrong types from them.
    Clicks = Any
else:
    Clicks = csr_array


def click_matrix(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> Clicks:
    """Return the number of clicks of each pair.

    Args:
      user: [n] rows.
      item: [n] columns.
      shape: numbers of users and items.

    Returns:
      [users, items] float64, with sorted columns in each row.

    Examples:
      >>> click_matrix(np.array([0, 0]), np.array([1, 1]), (1, 2)).toarray().tolist()
      [[0.0, 2.0]]
    """
    matrix = csr_array((np.ones(len(user)), (user, item)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def binary(clicks: Clicks) -> Clicks:
    """Return the matrix with 1 for every pair that has a click.

    Args:
      clicks: [users, items].

    Examples:
      >>> binary(click_matrix(np.array([0, 0]), np.array([1, 1]), (1, 2))).data.tolist()
      [1.0]
    """
    ones = np.ones_like(clicks.data)
    return csr_array((ones, clicks.indices, clicks.indptr), shape=clicks.shape)
