"""Spectral start: singular vectors of the clicks as embeddings of users and items."""

from typing import NamedTuple

import numpy as np

from twotower_jax.model.towers.choice import Clicks, binary

OVERSAMPLING, POWERS = 16, 3
LEAST = 1e-4  # share of the largest singular value below which others are rounding


class SpectralVectors(NamedTuple):
    """Embeddings of a mean length of 1; 0 for a user or an item without a click."""

    users: np.ndarray  # [users, dim] float32
    items: np.ndarray  # [items, dim] float32
    history: np.ndarray  # [items, dim] float32; a user's sum has the user's direction


def spectral_vectors(clicks: Clicks, dim: int) -> SpectralVectors:
    """Return embeddings whose dot products approximate the normalised clicks.

      N = D_u^-1/2 R D_i^-1/2 ~ U S V',   users U S^1/2,   items V S^1/2,
      history D_i^-1/2 V S^-1/2

    R is 1 for a pair with a click; D_u and D_i are diagonal, the numbers of items of
    each user and of users of each item. S and V are the ``dim`` largest singular
    values and their vectors, by a randomised decomposition with a fixed seed.

    References:
      Halko, Martinsson & Tropp, Finding Structure with Randomness, SIAM Review 2011,
      algorithms 4.4 and 5.1; Dhillon, Co-clustering Documents and Words Using Bipartite
      Spectral Graph Partitioning, KDD 2001 (the normalised matrix).
    """
    from scipy.sparse import diags_array  # on use, as in `click_matrix`

    seen = binary(clicks).astype(np.float32)
    of_user, of_item = (
        1 / np.sqrt(np.maximum(seen.sum(axis=axis), 1)) for axis in (1, 0)
    )
    normalised = (diags_array(of_user) @ seen @ diags_array(of_item)).astype(np.float32)
    values, right = _largest(normalised.tocsr(), min(dim, *clicks.shape))
    root = np.sqrt(values)
    # As N V = U S, the users need no vectors of their own.
    users = normalised @ (right / root)
    made = (users, right * root, of_item[:, None] * right / root)
    return SpectralVectors(*(_scaled(rows, dim) for rows in made))


def _largest(matrix: Clicks, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return S [n] and V [columns, n], S descending, n at most number."""
    size = min(number + OVERSAMPLING, *matrix.shape)
    start = np.random.default_rng(0).normal(size=(matrix.shape[1], size))
    transposed = matrix.T.tocsr()
    basis = np.linalg.qr(matrix @ start.astype(np.float32))[0]
    for _ in range(POWERS):
        columns = np.linalg.qr(transposed @ basis)[0]
        basis = np.linalg.qr(matrix @ columns)[0]
    right, values, _ = np.linalg.svd(transposed @ basis, full_matrices=False)
    kept = min(number, np.count_nonzero(values > LEAST * values[0]))
    return values[:kept], right[:, :kept]


def _scaled(rows: np.ndarray, dim: int) -> np.ndarray:
    """Return rows [n, dim] whose mean length, of those that are not 0, is 1."""
    lengths = np.linalg.norm(rows, axis=1)
    mean = lengths[lengths > 0].mean() if lengths.any() else 1.0
    wide = np.zeros((len(rows), dim), np.float32)
    wide[:, : rows.shape[1]] = rows / mean
    return wide
