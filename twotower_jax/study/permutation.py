"""p values of paired differences by random sign flips over queries, and Holm's."""

import math
from collections.abc import Sequence

import numpy as np

from twotower_jax.study.intervals import CELLS
from twotower_jax.study.spread import LEVEL, Spread, spread

FLIPS = 10_000  # random sign flips: Holm over many arms needs small p values
EXACT = 12  # up to this many nonzero differences, all sign flips are enumerated


def permutation_ps(
    pairs: Sequence[np.ndarray], *, flips: int = FLIPS, seed: int = 0
) -> list[float]:
    """Two-sided p values of the hypotheses that two arms are alike, by sign flips.

    If the arms are alike, the difference of each query (its mean over seeds) is
    positive or negative with equal probability. The error that seeds add is not a
    property of queries: it enters as a normal deviation beside each flipped mean,
    integrated in closed form, and the observed mean is transformed from the t
    distribution of `Spread.seed_df` to the normal. For one seed this is the usual
    paired permutation test.

    Examples:
      >>> permutation_ps([np.array([[0.1, 0.2, 0.1, 0.1]])])  # 2 of 2**4 flips
      [0.125]
      >>> permutation_ps([np.zeros((3, 5))])
      [1.0]

    References:
      Smucker, Allan, Carterette, A comparison of statistical significance tests for
      information retrieval evaluation, CIKM 2007.
    """
    values = np.stack([one.mean(axis=0) for one in pairs], axis=1)
    few = np.count_nonzero(values, axis=0) <= EXACT
    flipped = None if few.all() else _flips(values, flips, seed) / len(values)
    found = []
    for place, differences in enumerate(pairs):
        own, uncertainty = values[:, place], spread(differences)
        if flipped is None or few[place]:
            every = _all_flips(own[own != 0]) / len(own)
            found.append(float(np.mean(_further(every, own, uncertainty))))
        else:
            further = _further(flipped[:, place], own, uncertainty)
            found.append(float((np.sum(further) + 1) / (flips + 1)))
    return found


def _further(
    flipped: np.ndarray, values: np.ndarray, uncertainty: Spread
) -> np.ndarray:
    """Return per flipped mean the probability to be as far from 0 as the observed."""
    from scipy import stats  # on use: half a second of every start

    observed = _observed(values, uncertainty)
    if uncertainty.seed_error > 0:
        further = stats.norm.sf((observed - flipped) / uncertainty.seed_error)
        return further + stats.norm.sf((observed + flipped) / uncertainty.seed_error)
    # Sums of equal numbers in another order differ in their last digits.
    return np.abs(flipped) >= observed * (1 - 1e-9)


def _observed(values: np.ndarray, uncertainty: Spread) -> float:
    """Return the absolute mean, transformed from t to normal for the few seeds."""
    from scipy import stats  # on use: half a second of every start

    observed = abs(float(values.mean()))
    if not math.isfinite(uncertainty.seed_df) or uncertainty.error == 0:
        return observed
    tail = stats.t.sf(observed / uncertainty.error, uncertainty.seed_df)
    flip_variance = float(np.mean(values**2)) / len(values)  # of the flipped mean
    scale = math.sqrt(flip_variance + uncertainty.seed_error**2)
    return scale * float(stats.norm.isf(tail))


def _all_flips(values: np.ndarray) -> np.ndarray:
    """Return the sums of values under all sign flips, [2 ** len(values)]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _flips(values: np.ndarray, flips: int, seed: int) -> np.ndarray:
    """Return the sums of values [queries, n] under random sign flips, [flips, n]."""
    rng = np.random.default_rng(seed)
    queries, parts = len(values), []
    size = max(1, CELLS // queries)
    for done in range(0, flips, size):
        shape = (min(size, flips - done), -(-queries // 8))
        bits = np.unpackbits(rng.integers(0, 256, shape, dtype=np.uint8), axis=1)
        parts.append(bits[:, :queries].astype(float) @ (2 * values))
    return np.concatenate(parts) - values.sum(axis=0)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p values of a family of tests.

    In increasing order, the i-th of n (from 0) is max over j <= i of (n - j) p_j, and
    at most 1.

    Examples:
      >>> holm(np.array([0.01, 0.04, 0.03])).round(4).tolist()
      [0.03, 0.06, 0.06]

    References:
      Holm, A simple sequentially rejective multiple test procedure, Scandinavian
      Journal of Statistics 1979.
    """
    p = np.asarray(p, float)
    adjusted = p.copy()
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def holm_levels(p: np.ndarray) -> np.ndarray:
    """The levels at which Holm's procedure tests the hypotheses of a family.

    The i-th smallest p of n (from 0) is tested at 5 % / (n - i) as long as those before
    it were rejected; the others at the level of the first that was not. So p is below
    its level exactly where Holm's adjusted p is below 5 %.

    Examples:
      >>> holm_levels(np.array([0.01, 0.04, 0.03])).round(4).tolist()
      [0.0167, 0.025, 0.025]
    """
    p = np.asarray(p, float)
    levels = np.where(np.isfinite(p), 0.0, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN sorts last
    rejected = int((holm(p)[order] < 1 - LEVEL).sum())
    tested = len(order) - np.minimum(np.arange(len(order)), rejected)
    levels[order] = (1 - LEVEL) / tested
    return levels
