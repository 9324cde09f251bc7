"""Clicks as a sparse matrix with a row per user and a column per item."""

from typing import Any

import numpy as np

# A `scipy.sparse.csr_array`, of which a type checker infers wrong types.
Clicks = Any


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
    from scipy.sparse import csr_array  # on use: a sixth of a second of every start

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
    return type(clicks)((ones, clicks.indices, clicks.indptr), shape=clicks.shape)
