"""EASE: a linear model of each item on all other items, in closed form.

A matrix of at most `DOUBLE` rows is inverted in float64 where the free memory holds it,
any other in float32, in half of the memory and of the time; scores differ by 1e-7 to
2e-4, the more the smaller ``ease.l2``. Where the memory does not hold that either, each
item is regressed on its neighbours alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from twotower_jax.data.memory import available_memory
from twotower_jax.errors import InputError
from twotower_jax.lazy import np
from twotower_jax.model.towers.choice import Baseline, Clicks, Scores, baseline, binary
from twotower_jax.model.towers.item_knn import neighbours
from twotower_jax.registry import key, keys_of

BLOCK = 512  # rows of a large matrix that are handled at a time
# Rows of a matrix that LAPACK inverts. With two threads the Cholesky factor of OpenBLAS
# 0.3.30 ended the process at 16,000 rows, and not at 15,500.
LARGEST = 2**13
# Bytes per pair of rows at the peak of a fit: the matrix, and the products of its
# halves or the weights in float32.
BYTES = {"float64": 12, "float32": 6}
DOUBLE = 15_000
SHARE = 0.9  # of the free memory that a fit may take
NEIGHBOURS = 100  # of each item, where the free memory does not hold the matrix
PER_ITEM = 1e-3  # seconds of its regression on them, .65 ms to 1 ms when measured
TIMED = 2**11  # rows of the inverse whose seconds are measured


@keys_of("baseline.ease", words="towers=ease")
class EaseConfig:
    """EASE: the ridge regression of each item on all others."""

    l2: float = key(200.0, above=0, doc="weight of the squared coefficients")
    max_size: int | None = key(
        None,
        low=2,
        doc="limit on the users or the items with a training positive, whichever are "
        "fewer; null: none",
        example="30000",
    )
    neighbours: int | None = key(
        None,
        low=1,
        doc="regress each item on so many of the most similar items alone; null: on "
        f"all, but on {NEIGHBOURS} where the memory does not hold 6 bytes per pair",
        example="100",
    )


@baseline
@dataclass(unsafe_hash=True)
class Ease(Baseline):
    """Baseline without towers: a linear model of each item on all others."""

    kind: str = "ease"
    label: ClassVar[str] = "EASE"

    def fit(self, clicks: Clicks, numbers: Any, seed: int) -> Scores:
        """Scores X B of histories X, with the weights B of the ridge regression

          min_B |X - X B|^2 + l2 |B|^2   subject to   diag(B) = 0
          B_ij = -P_ij / P_jj for i != j,   P = (X' X + l2 I)^-1

        Items without a click have no weights; their score is 0. With fewer users than
        items, P comes from the inverse of a matrix of users:

          l2 P = I - X' M X,   M = (X X' + l2 I)^-1

        References:
          Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019; on the
          neighbours alone: Ning & Karypis, SLIM, ICDM 2011, section 4.2.1.
        """
        items, users = np.unique(clicks.indices), np.flatnonzero(np.diff(clicks.indptr))
        known, l2 = binary(clicks)[users][:, items], numbers.l2
        fit = _by_users if len(users) < len(items) else _by_items
        dtype = _dtype(min(known.shape), available_memory())
        if numbers.neighbours or dtype is None:
            number = numbers.neighbours or NEIGHBOURS
            scores, form = _by_neighbours(known, l2, number), f"{number} neighbours"
            return _AllScores(scores, items, f"float64, {form}")
        try:
            scores = fit(known, l2, dtype)
        except np.linalg.LinAlgError as error:
            raise InputError(
                f"baseline.ease.l2={l2:g} is too small for an inverse in {dtype}: "
                f"{error}; give a larger one"
            ) from None
        return _AllScores(scores, items, dtype)

    def excess(self, clicks: Clicks, numbers: Any) -> str | None:
        """Return the limit that the fit would exceed, None within it."""
        size, limit = _size(clicks), numbers.max_size
        if limit is None or size <= limit:
            return None
        return (
            f"ease inverts a matrix of {size:,} x {size:,}, above baseline.ease."
            f"max_size={limit}; raise it to fit all the same"
        )

    @staticmethod
    def seconds(clicks: Clicks) -> float:
        """Seconds of a fit: those of a small inverse times the ratio of rows cubed."""
        size = _size(clicks)
        if _dtype(size, available_memory()) is None:
            return PER_ITEM * len(np.unique(clicks.indices))
        rows = min(size, TIMED)
        _invert(np.eye(1, order="F"))  # imports LAPACK: not timed
        dtype = "float64" if size <= DOUBLE else "float32"
        timed = []
        for _ in range(3):  # other programs may take the cores for a moment
            matrix = np.eye(rows, dtype=dtype, order="F")
            start = time.perf_counter()
            _invert(matrix)
            timed.append(time.perf_counter() - start)
        return min(timed) * (size / rows) ** 3


class _AllScores(NamedTuple):
    """Scores of all items, and the type in which the matrix was inverted."""

    scores: Scores
    items: np.ndarray
    precision: str

    def __call__(self, history: Clicks) -> np.ndarray:
        """Histories [n, items] -> scores [n, items] float32, 0 for unclicked items."""
        out = np.zeros(history.shape, np.float32)
        out[:, self.items] = self.scores(binary(history)[:, self.items])
        return out


def _by_items(clicks: Clicks, l2: float, dtype: str) -> Scores:
    """Return the scores by the weights [items, items]."""
    weights = _weights(_inverse(clicks.T.tocsr(), l2, dtype))
    return lambda history: history.astype(np.float32) @ weights


def _by_users(clicks: Clicks, l2: float, dtype: str) -> Scores:
    """Return the scores by M [users, users]; the weights are never made.

    With y = x X' M X for a history x, the score of item j is

      (y_j - x_j) / (l2 P_jj) + x_j,   l2 P_jj = 1 - (X' M X)_jj
    """
    # Its transpose is the same matrix in the order of C: scipy copies any other.
    inverse = _inverse(clicks, l2, dtype).T
    by_item = clicks.T.tocsr()
    own = np.empty(len(by_item.indptr) - 1)
    for first in range(0, len(own), BLOCK):
        rows = by_item[first : first + BLOCK]
        own[first : first + BLOCK] = (rows.multiply(rows @ inverse)).sum(axis=1)
    scale = (1 - own).astype(np.float32)
    inverse = inverse.astype(np.float32, copy=False)
    by_item = by_item.astype(np.float32)

    def scores(history: Clicks) -> np.ndarray:
        history = history.astype(np.float32)
        near = (history @ by_item).toarray() @ inverse
        known = history.toarray()
        return ((by_item @ near.T).T - known) / scale + known

    return scores


def _by_neighbours(clicks: Clicks, l2: float, number: int) -> Scores:
    """Return the scores by the ridge regression of each item on its most similar items.

      B_Sj = (X_S' X_S + l2 I)^-1 X_S' x_j

    S are the items i with the largest cosine of the columns x_i and x_j.
    """
    from scipy.linalg import solve  # on use, as in `_invert`
    from scipy.sparse import csr_array

    similar, columns = neighbours(clicks, number, 0.0), clicks.tocsc()
    weight = np.empty(len(similar.data), np.float32)
    for item in range(len(similar.indptr) - 1):
        part = slice(similar.indptr[item], similar.indptr[item + 1])
        if near := len(own := similar.indices[part]):
            of_near = columns[:, own]
            matrix = (of_near.T @ of_near).toarray()
            matrix[np.diag_indices(near)] += l2
            target = (of_near.T @ columns[:, [item]]).toarray()[:, 0]
            weight[part] = solve(matrix, target, assume_a="pos")
    by_target = csr_array((weight, similar.indices, similar.indptr), similar.shape)
    weights = by_target.T.tocsr()
    return lambda history: (history.astype(np.float32) @ weights).toarray()


def _inverse(rows: Clicks, l2: float, dtype: str) -> np.ndarray:
    """Return (R R' + l2 I)^-1 for the rows R of a matrix, which replaces R R'."""
    number, columns = rows.shape[0], rows.T.tocsr()
    matrix = np.empty((number, number), dtype, order="F")
    for first in range(0, number, BLOCK):
        part = slice(first, first + BLOCK)
        matrix[:, part] = (rows[part] @ columns).toarray().T
    matrix[np.diag_indices(number)] += l2
    _invert(matrix)
    return matrix


def _invert(matrix: np.ndarray) -> None:
    """Invert a symmetric positive definite matrix in place.

    A large one is inverted by halves, with S = C - B A^-1 B':

      [A B']^-1   [A^-1 + W' S^-1 W   .   ]
      [B C ]    = [  -S^-1 W         S^-1 ],   W = B A^-1
    """
    from scipy.linalg import get_lapack_funcs  # on use: 0.1 seconds of every start

    half = len(matrix) // 2
    if len(matrix) > LARGEST:
        first, last = matrix[:half, :half], matrix[half:, half:]
        both = matrix[half:, :half]
        _invert(first)
        product = both @ first
        last -= product @ both.T
        _invert(last)
        both[:] = last @ product
        both *= -1
        first -= product.T @ both
        matrix[:half, half:] = both.T
        return
    factor, invert = get_lapack_funcs(("potrf", "potri"), (matrix,))
    lower, info = factor(matrix, lower=1, overwrite_a=1)
    if info == 0:
        lower, info = invert(lower, lower=1, overwrite_c=1)
    if info:
        raise np.linalg.LinAlgError(f"the Cholesky factor has no entry {info}")
    for start in range(0, len(lower), BLOCK):  # the symmetric matrix, in place
        part, rest = slice(start, start + BLOCK), slice(start + BLOCK, None)
        corner = np.tril(lower[part, part])
        lower[part, part] = corner + np.tril(corner, -1).T
        lower[part, rest] = lower[rest, part].T
    matrix[:] = lower


def _weights(inverse: np.ndarray) -> np.ndarray:
    """Return -P_ij / P_jj float32, 0 on the diagonal, in place of a P in float32."""
    own = np.diag(inverse).copy()
    if inverse.dtype == np.float32:
        # P is symmetric, and its transpose in the order of C.
        weights = inverse = inverse.T
    else:
        weights = np.empty(inverse.shape, np.float32)
    for first in range(0, len(inverse), BLOCK):
        part = slice(first, first + BLOCK)
        weights[part] = inverse[part] / -own
    weights[np.diag_indices(len(inverse))] = 0
    return weights


def _size(clicks: Clicks) -> int:
    """Return the rows of the matrix that is inverted: of users, or of fewer items."""
    items, users = len(np.unique(clicks.indices)), (np.diff(clicks.indptr) > 0).sum()
    return min(items, int(users))


def _dtype(size: int, room: int) -> str | None:
    """Return the type of the matrix that fits into so many bytes, None for neither."""
    types = BYTES if size <= DOUBLE else ("float32",)
    left = SHARE * room - 32 * BLOCK * size  # without the rows handled at a time
    return next((t for t in types if BYTES[t] * size**2 <= left), None)
