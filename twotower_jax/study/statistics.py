"""Paired comparison of two arms: difference, intervals, p value, power.

Intervals and p values are about further seeds and further queries, both random samples
(the model of `spread`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twotower_jax.errors import InputError
from twotower_jax.study.intervals import DRAWS, Interval, bootstrap_intervals
from twotower_jax.study.permutation import FLIPS, permutation_ps
from twotower_jax.study.spread import LEVEL, Spread, smallest_visible, spread

EQUIVALENCE_LEVEL = 0.9  # two one-sided tests at 5 %


class Difference(NamedTuple):
    """An arm compared to a reference arm; NaN where the values determine nothing.

    Attributes:
      mean, base_mean: over the seeds and queries that both arms have.
      interval: the difference, mean - base_mean, with its 95 % interval.
      p: two-sided p value of the permutation test that the arms are alike.
      spread: the uncertainty of the difference.
      seeds, queries: numbers of paired seeds and queries.
      tests: size of the family of Holm's correction.
    """

    mean: float
    base_mean: float
    interval: Interval
    p: float
    spread: Spread
    seeds: int
    queries: int
    tests: int = 1

    @property
    def difference(self) -> float:
        """Mean of the arm minus mean of its reference."""
        return self.interval.centre

    @property
    def equivalence_interval(self) -> tuple[float, float]:
        """The 90 % interval, of two one-sided tests at 5 %."""
        return self.interval.at(EQUIVALENCE_LEVEL)

    @property
    def decisive_p(self) -> float:
        """The larger p value of the permutation test and of the interval.

        The two differ in their last digits. A verdict needs both, so that it never
        stands beside an interval or a p value that contradicts it.
        """
        return max(self.p, self.interval.p)

    @property
    def smallest(self) -> float:
        """The smallest true difference that Holm's first test detects in 80 %."""
        return smallest_visible(self.spread, level=_family_level(self.tests))

    @property
    def over(self) -> str:
        """The factors that the intervals cover: for one seed, queries only."""
        if math.isnan(self.interval.low):
            return ""
        return "seeds and queries" if self.seeds > 1 else "queries"


def _family_level(tests: int) -> float:
    """Return the level of each interval of a family by Bonferroni."""
    return 1 - (1 - LEVEL) / max(tests, 1)


def means_alone(mean: float, base_mean: float, seeds: int) -> Difference:
    """A difference of two means without values per query."""
    nan = math.nan
    interval = Interval(mean - base_mean, nan, nan, nan)
    return Difference(mean, base_mean, interval, nan, Spread(*[nan] * 4), seeds, 0)


def compare(
    arm: np.ndarray,
    base: np.ndarray,
    *,
    tests: int = 1,
    draws: int = DRAWS,
    flips: int = FLIPS,
    seed: int = 0,
) -> Difference:
    """Difference of an arm to a reference arm, with intervals and p value.

    Args:
      arm: [seeds, queries] float, the metric of each query; NaN where undefined.
      base: [seeds, queries] float, the same for the reference arm.

    Examples:
      >>> base = np.array([[0.2, 0.4, 0.3, 0.5], [0.1, 0.4, 0.2, 0.5]])
      >>> result = compare(base + [0.1, 0.2, 0.1, 0.3], base)
      >>> round(result.difference, 4), result.p
      (0.175, 0.125)
    """
    (found,) = compare_all([(arm, base)], draws=draws, flips=flips, seed=seed)
    return found._replace(tests=tests)


def compare_all(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    draws: int = DRAWS,
    flips: int = FLIPS,
    seed: int = 0,
) -> list[Difference]:
    """Differences of pairs of arms, as `compare` makes them, in much less time."""
    kept = [paired(*pair) for pair in pairs]
    groups: dict[int, list[int]] = {}
    for place, (arm, _) in enumerate(kept):
        groups.setdefault(arm.shape[1], []).append(place)
    found: dict[int, Difference] = {}
    for places in groups.values():
        differences = [kept[place][0] - kept[place][1] for place in places]
        if not differences[0].size:
            nan, shapes = math.nan, [one.shape for one in differences]
            empty = [means_alone(nan, nan, seeds) for seeds, _ in shapes]
            found |= dict(zip(places, empty, strict=True))
            continue
        intervals = bootstrap_intervals(differences, draws=draws, seed=seed)
        ps = permutation_ps(differences, flips=flips, seed=seed)
        for place, one, interval, p in zip(
            places, differences, intervals, ps, strict=True
        ):
            means = [float(side.mean()) for side in kept[place]]
            seeds, queries = one.shape
            found[place] = Difference(
                means[0], means[1], interval, p, spread(one), seeds, queries
            )
    return [found[place] for place in range(len(pairs))]


def paired(arm: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arms, without the queries that lack a value in any seed of either arm.

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
