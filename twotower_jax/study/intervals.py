"""Intervals of a mean difference over further seeds and further queries.

The queries are many, so they are resampled. The seeds are three to ten, which is enough
for a variance and too few for a shape: their part is a normal deviation with that
variance, and the quantiles of t account for the few seeds.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from twotower_jax.study.spread import LEVEL, spread

DRAWS = 2000  # of the bootstrap
CELLS = 2_000_000  # array elements of random draws that are held at once


class Interval(NamedTuple):
    """The 95 % interval of a mean difference, from which those of other levels follow.

    Attributes:
      centre: the mean difference.
      low, high: ends of the 95 % interval; NaN for a single query.
      df: degrees of freedom of its t quantile.
    """

    centre: float
    low: float
    high: float
    df: float

    def at(self, level: float) -> tuple[float, float]:
        """Ends of the interval of another level: as far as t quantiles are apart.

        Args:
          level: share of studies whose interval covers the true difference.

        Returns:
          (low, high).

        Examples:
          >>> low, high = Interval(centre=1.0, low=0.8, high=1.2, df=4.0).at(0.9)
          >>> round(low, 3), round(high, 3)
          (0.846, 1.154)
        """
        if math.isnan(self.low):
            return math.nan, math.nan
        quantile, usual = stats.t.isf([(1 - level) / 2, (1 - LEVEL) / 2], self.df)
        stretch = float(quantile / usual)
        return (
            self.centre + (self.low - self.centre) * stretch,
            self.centre + (self.high - self.centre) * stretch,
        )


def bootstrap_interval(
    differences: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Bootstrap interval of the mean difference over seeds and queries.

    One draw is the mean of resampled queries (of their means over seeds), stretched by
    sqrt(Q / (Q - 1)), plus a normal deviation with the error that the seeds add. The
    distances of the percentiles from the mean are stretched by t / z with the degrees
    of freedom of `spread`. For one seed the interval covers queries only.

    Args:
      differences: [seeds, queries] float, without NaN.
      draws: number of draws.
      seed: seed of the draws.

    Returns:
      The interval.

    Examples:
      >>> found = bootstrap_interval(np.array([[0.1, 0.2, 0.1, 0.1]]))
      >>> round(found.low, 3), round(found.high, 3)
      (0.078, 0.219)
    """
    uncertainty = spread(differences)
    if math.isnan(uncertainty.error):
        return Interval(float(differences.mean()), math.nan, math.nan, math.nan)
    values, rng = differences.mean(axis=0), np.random.default_rng(seed)
    centre, queries = float(values.mean()), len(values)
    deviations = _resampled_means(values, draws, rng) - centre
    deviations *= math.sqrt(queries / (queries - 1))
    deviations += uncertainty.seed_error * rng.standard_normal(draws)
    tail = (1 - LEVEL) / 2
    stretch = float(stats.t.isf(tail, uncertainty.df) / stats.norm.isf(tail))
    low, high = np.quantile(deviations, [tail, 1 - tail]) * stretch
    return Interval(centre, centre + float(low), centre + float(high), uncertainty.df)


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
