"""Is an arm better than the base arm? Functions of per-query values, seeded.

An interval speaks of further seeds and further queries, both drawn from many as
`spread` has it. The queries are many and are resampled; the seeds are three to five,
with a variance but no shape: their part is a normal draw with that variance, and what
so few leave uncertain goes into a t quantile.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from twotower_jax.errors import InputError
from twotower_jax.study.spread import LEVEL, Spread, smallest_visible, spread

DRAWS = 2000
FLIPS = 10_000  # of signs: Holm over many arms asks for small p
EXACT = 12  # with so many differences that are not 0, or fewer, all signs are tried
CELLS = 2_000_000  # of a draw's array that are held at once


class Difference(NamedTuple):
    """An arm against its base; NaN for what the values do not tell.

    Attributes:
      mean, base_mean: over the seeds and queries that both arms have.
      difference: mean - base_mean.
      low, high: its 95 % interval.
      p: of "the arms are alike", two-sided.
      smallest: the smallest difference that would have been seen 8 times of 10, beside
        the other tests of its family.
      seeds, queries: how many were paired.
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
        """What the interval speaks of: one seed says nothing of other seeds."""
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
    """Compare an arm to the base arm.

    Args:
      arm: [seeds, queries] a metric of each query; NaN where it has none.
      base: [seeds, queries] the same of the base arm: same seeds, same queries.
      tests: of the family that Holm's correction is over, whose first is tested at
        5 % / tests; the smallest visible difference would pass as the first.
      draws, flips: of the bootstrap and of the permutation test.
      seed: of both.
    Raises:
      InputError: when the shapes differ or are not [seeds, queries].
    """
    arm, base = paired(arm, base)
    seeds, queries = arm.shape
    if not seeds or not queries:
        nan = math.nan
        return Difference(nan, nan, nan, nan, nan, nan, nan, seeds, queries)
    differences = arm - base
    low, high = bootstrap_interval(differences, draws=draws, seed=seed)
    return Difference(
        float(arm.mean()),
        float(base.mean()),
        float(differences.mean()),
        low,
        high,
        permutation_p(differences, flips=flips, seed=seed),
        smallest_visible(spread(differences), level=1 - (1 - LEVEL) / tests),
        seeds,
        queries,
    )


def paired(arm: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both arms without the queries that lack a value in any of their seeds.

    Both arms come as [seeds, queries] and go as [seeds, kept queries].
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
    """Return the bootstrap interval of the mean difference, over seeds and queries.

    A draw is the mean of resampled queries (of their means over seeds), stretched by
    sqrt(Q / (Q - 1)), plus a normal deviation with the error that seeds add. The
    percentiles' distances from the mean are stretched by t / z for the degrees of
    freedom of `spread`. With one seed the interval is over queries only.

    Args:
      differences: [seeds, queries], no NaN.
      draws: how many.
      level: the share of studies whose interval covers the true difference.
      seed: of the draws.
    Returns:
      (low, high); NaN for a single query.
    """
    error = spread(differences)
    if math.isnan(error.error):
        return math.nan, math.nan
    values = differences.mean(axis=0)
    centre, queries = float(values.mean()), len(values)
    rng = np.random.default_rng(seed)
    size = max(1, CELLS // queries)
    parts = [
        values[rng.integers(0, queries, (min(size, draws - done), queries))].mean(1)
        for done in range(0, draws, size)
    ]
    deviations = (np.concatenate(parts) - centre) * math.sqrt(queries / (queries - 1))
    deviations += error.seed_error * rng.standard_normal(draws)
    tail = (1 - level) / 2
    stretch = float(stats.t.isf(tail, error.df) / stats.norm.isf(tail))
    low, high = np.quantile(deviations, [tail, 1 - tail]) * stretch
    return centre + float(low), centre + float(high)


def permutation_p(
    differences: np.ndarray, *, flips: int = FLIPS, seed: int = 0
) -> float:
    """Return the two-sided p of "the arms are alike" by flips of sign over queries.

    If the arms are alike, the difference of a query (its mean over seeds) has either
    sign with equal chance. What seeds add is no matter of queries: it enters as a
    normal deviation beside each flipped mean, integrated in closed form; the observed
    mean is brought from the t of `Spread.seed_df` to the normal. For one seed, or
    seeds that add nothing, this is the paired permutation test as it stands.

    Args:
      differences: [seeds, queries], no NaN.
      flips: how many; up to 12 differences other than 0 get all, and p is exact.
      seed: of the flips.
    References:
      Smucker, Allan, Carterette, A comparison of statistical significance tests for
      information retrieval evaluation, CIKM 2007.
    """
    values = differences.mean(axis=0)
    error = spread(differences)
    observed = _observed(values, error)
    moving = values[values != 0]
    exact = len(moving) <= EXACT
    flipped = _all_flips(moving) if exact else _flips(moving, flips, seed)
    flipped /= len(values)
    if error.seed_error > 0:
        further = stats.norm.sf((observed - flipped) / error.seed_error)
        further += stats.norm.sf((observed + flipped) / error.seed_error)
    else:
        # Sums of equal numbers in another order differ in their last digits.
        further = np.abs(flipped) >= observed * (1 - 1e-9)
    if exact:
        return float(np.mean(further))
    return float((np.sum(further) + 1) / (flips + 1))


def _observed(values: np.ndarray, error: Spread) -> float:
    """Return the size of the mean, brought from t to the normal where seeds add."""
    observed = abs(float(values.mean()))
    if not math.isfinite(error.seed_df) or error.error == 0:
        return observed
    tail = stats.t.sf(observed / error.error, error.seed_df)
    of_flips = float(np.mean(values**2)) / len(values)  # the variance of their mean
    return math.sqrt(of_flips + error.seed_error**2) * float(stats.norm.isf(tail))


def _all_flips(values: np.ndarray) -> np.ndarray:
    """Return the sums of values under all 2 ** n signs, [2 ** n]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _flips(values: np.ndarray, flips: int, seed: int) -> np.ndarray:
    """Return the sums of values under random signs, [flips]."""
    rng = np.random.default_rng(seed)
    size = max(1, CELLS // len(values))
    parts = []
    for done in range(0, flips, size):
        shape = (min(size, flips - done), -(-len(values) // 8))
        bits = np.unpackbits(rng.integers(0, 256, shape, dtype=np.uint8), axis=1)
        parts.append(bits[:, : len(values)].astype(float) @ (2 * values))
    return np.concatenate(parts) - values.sum()


def holm(p: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p of a family of tests.

    In increasing order, the i-th of n (from 0) is max over j <= i of (n - j) p_j, and
    at most 1.

    Args:
      p: [tests]; a NaN stays, and does not count as a test.
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
