"""Intervals of a mean difference over further seeds and further queries.

The queries are many, so they are resampled. The seeds are three to ten, which is enough
for a variance and too few for a shape: their part is a normal deviation with that
variance, and the quantiles of t account for the few seeds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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

    @property
    def p(self) -> float:
        """Two-sided p: the interval of level 1 - p ends at 0.

        Examples:
          >>> touching = Interval(centre=0.2, low=0.0, high=0.5, df=4.0)
          >>> round(touching.p, 6), Interval(0.0, -0.1, 0.1, 4.0).p
          (0.05, 1.0)
        """
        from scipy import stats  # on use: half a second of every start

        if math.isnan(self.low) or not self.centre:
            return math.nan if math.isnan(self.low) else 1.0
        end = self.low if self.centre > 0 else self.high
        reach = (self.centre - end) / self.centre  # 1: the interval ends at 0
        if reach <= 0:
            return 0.0
        quantile = float(stats.t.isf((1 - LEVEL) / 2, self.df)) / reach
        return 2 * float(stats.t.sf(quantile, self.df))

    def at(self, level: float) -> tuple[float, float]:
        """Ends of the interval of another level: as far as t quantiles are apart.

        Examples:
          >>> low, high = Interval(centre=1.0, low=0.8, high=1.2, df=4.0).at(0.9)
          >>> round(low, 3), round(high, 3)
          (0.846, 1.154)
        """
        from scipy import stats  # on use: half a second of every start

        if math.isnan(self.low):
            return math.nan, math.nan
        quantile, usual = stats.t.isf([(1 - level) / 2, (1 - LEVEL) / 2], self.df)
        stretch = float(quantile / usual)
        return (
            self.centre + (self.low - self.centre) * stretch,
            self.centre + (self.high - self.centre) * stretch,
        )


def bootstrap_intervals(
    pairs: Sequence[np.ndarray], *, draws: int = DRAWS, seed: int = 0
) -> list[Interval]:
    """Bootstrap intervals of mean differences over seeds and queries.

    One draw is the mean of resampled queries (of their means over seeds), stretched by
    sqrt(Q / (Q - 1)), plus a normal deviation with the error that the seeds add. The
    distances of the percentiles from the mean are stretched by t / z with the degrees
    of freedom of `spread`. For one seed the interval covers queries only.

    Examples:
      >>> (found,) = bootstrap_intervals([np.array([[0.1, 0.2, 0.1, 0.1]])])
      >>> round(found.low, 3), round(found.high, 3)
      (0.078, 0.219)
    """
    from scipy import stats  # on use: half a second of every start

    values = np.stack([one.mean(axis=0) for one in pairs], axis=1)
    queries, centres = len(values), values.mean(axis=0)
    if queries < 2:
        nan = math.nan
        return [Interval(float(centre), nan, nan, nan) for centre in centres]
    rng = np.random.default_rng(seed)
    deviations = _resampled_means(values - centres, draws, rng)
    deviations *= math.sqrt(queries / (queries - 1))
    of_seeds = rng.standard_normal(draws)
    tail = (1 - LEVEL) / 2
    intervals = []
    for differences, deviation, centre in zip(
        pairs, deviations.T, centres, strict=True
    ):
        uncertainty = spread(differences)
        stretch = float(stats.t.isf(tail, uncertainty.df) / stats.norm.isf(tail))
        further = deviation + uncertainty.seed_error * of_seeds
        low, high = centre + np.quantile(further, [tail, 1 - tail]) * stretch
        ends = float(low), float(high)
        intervals.append(Interval(float(centre), *ends, uncertainty.df))
    return intervals


def _resampled_means(
    values: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the means of values [queries, n] drawn with replacement, [draws, n]."""
    queries = len(values)
    size, parts = max(1, CELLS // queries), []
    for done in range(0, draws, size):
        rows = min(size, draws - done)
        drawn = rng.integers(0, queries, (rows, queries))
        drawn += queries * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * queries)
        parts.append(counts.reshape(rows, queries).astype(float) @ values)
    return np.concatenate(parts) / queries
