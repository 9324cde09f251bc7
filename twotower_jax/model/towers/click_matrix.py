"""Clicks as a sparse matrix with a row per user and a column per item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twotower_jax.model.towers.choice import Clicks
from twotower_jax.registry import Lazy

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")


def click_matrix(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> Clicks:
    """Return the number of clicks of each pair.

    Args:
      shape: numbers of users and items.

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

    Examples:
      >>> binary(click_matrix(np.array([0, 0]), np.array([1, 1]), (1, 2))).data.tolist()
      [1.0]
    """
    ones = np.ones_like(clicks.data)
    return type(clicks)((ones, clicks.indices, clicks.indptr), shape=clicks.shape)
