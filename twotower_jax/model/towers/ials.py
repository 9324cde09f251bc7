"""iALS: factors of all pairs of users and items, by alternating least squares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

from twotower_jax.lazy import np
from twotower_jax.model.towers.choice import Baseline, Clicks, Scores, baseline, binary
from twotower_jax.registry import key, keys_of

# Factors that are gathered at a time: 2 MiB of float64, which fit into a cache.
BLOCK = 2**18


@keys_of("baseline.ials", words="towers=ials")
class IalsConfig:
    """iALS: factors of the whole matrix of clicks by alternating least squares."""

    factors: int = key(64, low=1, doc="dimension of the factors")
    l2: float = key(
        0.01, above=0, doc="weight of the squared factors, times the row's weight"
    )
    unobserved_weight: float = key(
        0.03, above=0, doc="weight of a pair without a click; a click adds 1"
    )
    iterations: int = key(16, low=1, doc="passes over users and items")
    max_rows: int = key(
        1_000_000,
        low=2,
        doc="limit on users plus items with a training positive, at 64 factors",
    )


@baseline
@dataclass(unsafe_hash=True)
class Ials(Baseline):
    """Baseline without towers: factors by alternating least squares."""

    kind: str = "ials"
    label: ClassVar[str] = "iALS"
    seeded: ClassVar[bool] = True

    def fit(self, clicks: Clicks, numbers: Any, seed: int) -> Scores:
        """Scores <w_u, h_i> of the factors that minimise

          L = sum_{(u,i) in S} (<w_u, h_i> - 1)^2 + a sum_{all u, i} <w_u, h_i>^2
              + l2 (sum_u #_u |w_u|^2 + sum_i #_i |h_i|^2)
          #_u = |S_u| + a |I|,   #_i = |S_i| + a |U|

        S are the clicks and a is the weight of unobserved pairs. The factors of a query
        minimise L for its history, given the items.

        References:
          Hu, Koren & Volinsky, Collaborative Filtering for Implicit Feedback Datasets,
          ICDM 2008. Rendle, Krichene, Zhang & Koren, Revisiting the Performance of iALS
          on Item Recommendation Benchmarks, RecSys 2022 (with exponent nu = 1).
        """
        clicks = binary(clicks)
        # Items without a click have factors 0, users likewise.
        items = initial_factors(clicks.shape[1], numbers.factors, seed)
        by_item = clicks.T.tocsr()
        for _ in range(numbers.iterations):
            users = solve_factors(clicks, items, numbers)
            items = solve_factors(by_item, users, numbers)
        table = np.ascontiguousarray(items.T, np.float32)
        rotated = _rotate(items, numbers.unobserved_weight)

        def scores(history: Clicks) -> np.ndarray:
            queries = _solve(binary(history), rotated, numbers)
            return queries.astype(np.float32) @ table

        return scores

    def excess(self, clicks: Clicks, numbers: Any) -> str | None:
        """Return the limit that the fit would exceed; a row costs about factors^3."""
        rows = sum(len(np.unique(axis)) for axis in clicks.nonzero())
        if rows * (numbers.factors / 64) ** 3 <= numbers.max_rows:
            return None
        return (
            f"ials solves a system of {numbers.factors} equations for each of "
            f"{rows:,} users and items, above baseline.ials.max_rows="
            f"{numbers.max_rows} (at 64 factors); raise it to fit all the same"
        )


# Factors H [rows, factors] in the basis of the eigenvectors of a H' H, the eigenvalues,
# and the eigenvectors, one per column.
Rotated = tuple["np.ndarray", "np.ndarray", "np.ndarray"]


def initial_factors(number: int, factors: int, seed: int) -> np.ndarray:
    """Return normal [number, factors] float64 of deviation 0.1 / sqrt(factors)."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.1 / np.sqrt(factors), (number, factors))


def solve_factors(
    clicks: Clicks, others: np.ndarray, settings: IalsConfig
) -> np.ndarray:
    """Return the factors of the rows that minimise L, given those of the columns.

      (V' V + D) w_u = V' 1,   D = a H' H + l2 #_u I,   V = the rows h_i of S_u

    D is diagonal in the basis of the eigenvectors of H' H, so that a row with fewer
    clicks than factors needs a system of the size of its clicks only:

      w_u = D^-1 V' (I + V D^-1 V')^-1 1
    """
    return _solve(clicks, _rotate(others, settings.unobserved_weight), settings)


def _rotate(factors: np.ndarray, weight: float) -> Rotated:
    """Return factors [rows, factors] in the basis of the eigenvectors of a H' H."""
    spectrum, basis = np.linalg.eigh(weight * (factors.T @ factors))
    return factors @ basis, spectrum, basis


def _solve(clicks: Clicks, columns: Rotated, settings: IalsConfig) -> np.ndarray:
    """Return the factors of the rows, as `solve_factors`, given rotated columns."""
    others, spectrum, basis = columns
    sizes = np.diff(clicks.indptr)
    ridge = settings.l2 * (sizes + settings.unobserved_weight * clicks.shape[1])
    rotated = np.zeros((clicks.shape[0], others.shape[1]))

    def solve(block: tuple[np.ndarray, int]) -> None:
        rows, width = block
        filled = np.arange(width) < sizes[rows, None]
        place = np.where(filled, clicks.indptr[rows, None] + np.arange(width), 0)
        clicked = others[clicks.indices[place]] * filled[:, :, None]
        diagonal = np.maximum(spectrum, 0) + ridge[rows, None]
        rotated[rows] = _solve_rows(clicked, diagonal, filled)

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        list(pool.map(solve, _blocks(sizes, others.shape[1])))
    return rotated @ basis.T


def _solve_rows(
    clicked: np.ndarray, diagonal: np.ndarray, filled: np.ndarray
) -> np.ndarray:
    """Return (V' V + D)^-1 V' 1 of some rows."""
    transposed = clicked.transpose(0, 2, 1)
    if clicked.shape[1] < clicked.shape[2]:
        left = (clicked / diagonal[:, None]) @ transposed
        right = filled[:, :, None].astype(np.float64)
        _add_diagonal(left, 1.0)
        return (transposed @ np.linalg.solve(left, right))[:, :, 0] / diagonal
    left = transposed @ clicked
    _add_diagonal(left, diagonal)
    return np.linalg.solve(left, clicked.sum(axis=1)[:, :, None])[:, :, 0]


def _add_diagonal(matrices: np.ndarray, values: np.ndarray | float) -> None:
    """Add values to the diagonals of matrices [n, size, size] in place."""
    places = np.arange(matrices.shape[1])
    matrices[:, places, places] += values


def _blocks(sizes: np.ndarray, factors: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield rows of similar size with their largest size; empty rows are left out."""
    order = np.argsort(sizes, kind="stable")
    sizes = sizes[order]
    first = int(np.searchsorted(sizes, 1))
    while first < len(order):
        # Sizes up to the next power of two share a block: at most half is padding.
        width = 1 << int(sizes[first] - 1).bit_length()
        room = max(1, BLOCK // (factors * width))
        last = min(first + room, int(np.searchsorted(sizes, width, "right")))
        yield order[first:last], int(sizes[last - 1])
        first = last
