"""Paired comparison of an arm to the base arm: difference, interval, p value.

Intervals and p values are about further seeds and further queries, both random samples
(the model of `spread`). The queries are many, so they are resampled. The seeds are
three to five, which is enough for a variance and too few for a shape: their part is a
normal deviation with that variance, and a t quantile accounts for the few seeds.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from twotower_jax.errors import InputError
from twotower_jax.study.spread import LEVEL, Spread, smallest_visible, spread

DRAWS = 2000  # of the bootstrap
FLIPS = 10_000  # random sign flips: Holm over many arms needs small p values
EXACT = 12  # up to this many nonzero differences, all sign flips are enumerated
CELLS = 2_000_000  # array elements of random draws that are held at once


class Difference(NamedTuple):
    """An arm compared to its base arm; NaN where the values determine nothing.

    Attributes:
      mean, base_mean: over the seeds and queries that both arms have.
      difference: mean - base_mean.
      low, high: 95 % interval of the difference.
      p: two-sided p value of the hypothesis that the arms are alike.
      smallest: smallest true difference that would be detected with probability 0.8,
        given the number of tests in its family.
      seeds, queries: numbers of paired seeds and queries.
    """

    mean: float
    base_mean: float
    difference: float
    low: float
    high: float
    p: float
    smallest: float
    seeds: int
    queries: int

    @property
    def over(self) -> str:
        """The factors that the interval covers: for one seed, queries only."""
        if math.isnan(self.low):
            return ""
        return "seeds and queries" if self.seeds > 1 else "queries"


def compare(
    arm: np.ndarray,
    base: np.ndarray,
    *,
    tests: int = 1,
    draws: int = DRAWS,
    flips: int = FLIPS,
    seed: int = 0,
) -> Difference:
    """Difference of an arm to the base arm, with interval and p value.

    Args:
      arm: [seeds, queries] float, the metric of each query; NaN where undefined.
      base: [seeds, queries] float, the same for the base arm.
      tests: size of the family of Holm's correction; `smallest` passes its first test.
      draws, flips: numbers of bootstrap draws and of random sign flips.
      seed: seed of both.

    Returns:
      The difference over the queries that have a value in every seed of both arms.

    Raises:
      InputError: when the shapes differ or are not [seeds, queries].

    Examples:
      >>> base = np.array([[0.2, 0.4, 0.3, 0.5], [0.1, 0.4, 0.2, 0.5]])
      >>> result = compare(base + [0.1, 0.2, 0.1, 0.3], base)
      >>> round(result.difference, 4), result.p
      (0.175, 0.125)
    """
    arm, base = paired(arm, base)
    seeds, queries = arm.shape
    if not arm.size:
        return Difference(*[math.nan] * 7, seeds=seeds, queries=queries)
    differences = arm - base
    mean, base_mean, gain = (float(x.mean()) for x in (arm, base, differences))
    low, high = bootstrap_interval(differences, draws=draws, seed=seed)
    p = permutation_p(differences, flips=flips, seed=seed)
    smallest = smallest_visible(spread(differences), level=1 - (1 - LEVEL) / tests)
    return Difference(mean, base_mean, gain, low, high, p, smallest, seeds, queries)


def paired(arm: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arms, without the queries that lack a value in any seed of either arm.

    Args:
      arm: [seeds, queries] float; NaN where undefined.
      base: [seeds, queries] float, the same of the base arm.

    Returns:
      Both arms, [seeds, kept queries] float64.

    Raises:
      InputError: when the shapes differ or are not [seeds, queries].

    Examples:
      >>> paired(np.array([[1.0, np.nan]]), np.array([[2.0, 3.0]]))
      (array([[1.]]), array([[2.]]))
    """
    arm, base = np.asarray(arm, float), np.asarray(base, float)
    if arm.ndim != 2 or arm.shape != base.shape:
        raise InputError(
            f"arms are compared as two arrays [seeds, queries], got {arm.shape} and "
            f"{base.shape}; pair their seeds and queries first"
        )
    kept = np.isfinite(arm).all(axis=0) & np.isfinite(base).all(axis=0)
    return arm[:, kept], base[:, kept]


def bootstrap_interval(
    differences: np.ndarray,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of the mean difference over seeds and queries.

    One draw is the mean of resampled queries (of their means over seeds), stretched by
    sqrt(Q / (Q - 1)), plus a normal deviation with the error that the seeds add. The
    distances of the percentiles from the mean are stretched by t / z with the degrees
    of freedom of `spread`. For one seed the interval covers queries only.

    Args:
      differences: [seeds, queries] float, without NaN.
      draws: number of draws.
      level: share of studies whose interval covers the true difference.
      seed: seed of the draws.

    Returns:
      (low, high); NaN for a single query.

    Examples:
      >>> low, high = bootstrap_interval(np.array([[0.1, 0.2, 0.1, 0.1]]))
      >>> round(low, 3), round(high, 3)
      (0.078, 0.219)
    """
    uncertainty = spread(differences)
    if math.isnan(uncertainty.error):
        return math.nan, math.nan
    values, rng = differences.mean(axis=0), np.random.default_rng(seed)
    centre, queries = float(values.mean()), len(values)
    deviations = _resampled_means(values, draws, rng) - centre
    deviations *= math.sqrt(queries / (queries - 1))
    deviations += uncertainty.seed_error * rng.standard_normal(draws)
    tail = (1 - level) / 2
    stretch = float(stats.t.isf(tail, uncertainty.df) / stats.norm.isf(tail))
    low, high = np.quantile(deviations, [tail, 1 - tail]) * stretch
    return centre + float(low), centre + float(high)


def _resampled_means(
    values: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the means of values drawn with replacement, [draws]."""
    queries = len(values)
    size = max(1, CELLS // queries)
    parts = [
        values[rng.integers(0, queries, (min(size, draws - done), queries))].mean(1)
        for done in range(0, draws, size)
    ]
    return np.concatenate(parts)


def permutation_p(
    differences: np.ndarray, *, flips: int = FLIPS, seed: int = 0
) -> float:
    """Two-sided p value of the hypothesis that the arms are alike, by sign flips.

    If the arms are alike, the difference of each query (its mean over seeds) is
    positive or negative with equal probability. The error that seeds add is not a
    property of queries: it enters as a normal deviation beside each flipped mean,
    integrated in closed form, and the observed mean is transformed from the t
    distribution of `Spread.seed_df` to the normal. For one seed, or seeds that add
    nothing, this is the usual paired permutation test.

    Args:
      differences: [seeds, queries] float, without NaN.
      flips: number of random sign flips; for up to 12 nonzero differences all flips
        are enumerated and p is exact.
      seed: seed of the flips.

    Returns:
      p in (0, 1].

    Examples:
      >>> permutation_p(np.array([[0.1, 0.2, 0.1, 0.1]]))  # 2 of 2**4 flips
      0.125
      >>> permutation_p(np.zeros((3, 5)))
      1.0

    References:
      Smucker, Allan, Carterette, A comparison of statistical significance tests for
      information retrieval evaluation, CIKM 2007.
    """
    values = differences.mean(axis=0)
    moving = values[values != 0]
    exact = len(moving) <= EXACT
    flipped = _all_flips(moving) if exact else _flips(moving, flips, seed)
    further = _further(flipped / len(values), values, spread(differences))
    if exact:
        return float(np.mean(further))
    return float((np.sum(further) + 1) / (flips + 1))


def _further(
    flipped: np.ndarray, values: np.ndarray, uncertainty: Spread
) -> np.ndarray:
    """Return per flipped mean the probability to be as far from 0 as the observed."""
    observed = _observed(values, uncertainty)
    if uncertainty.seed_error > 0:
        further = stats.norm.sf((observed - flipped) / uncertainty.seed_error)
        return further + stats.norm.sf((observed + flipped) / uncertainty.seed_error)
    # Sums of equal numbers in another order differ in their last digits.
    return np.abs(flipped) >= observed * (1 - 1e-9)


def _observed(values: np.ndarray, uncertainty: Spread) -> float:
    """Return the absolute mean, transformed from t to normal where seeds add error."""
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
    """Return the sums of values under random sign flips, [flips]."""
    rng = np.random.default_rng(seed)
    size = max(1, CELLS // len(values))
    parts = []
    for done in range(0, flips, size):
        shape = (min(size, flips - done), -(-len(values) // 8))
        bits = np.unpackbits(rng.integers(0, 256, shape, dtype=np.uint8), axis=1)
        parts.append(bits[:, : len(values)].astype(float) @ (2 * values))
    return np.concatenate(parts) - values.sum()


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p values of a family of tests.

    In increasing order, the i-th of n (from 0) is max over j <= i of (n - j) p_j, and
    at most 1.

    Args:
      p: [tests] float; a NaN stays NaN and does not count as a test.

    Returns:
      [tests] float64.

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
