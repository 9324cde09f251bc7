"""Paired comparison of two arms: difference, intervals, p value, power.

Intervals and p values are about further seeds and further queries, both random samples
(the model of `spread`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twotower_jax.errors import InputError

LEVEL = 0.95  # coverage of every interval
POWER = 0.8  # chance to detect a difference of the smallest visible size
NORMAL = 1e6  # from so many degrees of freedom on, t is the normal distribution


class Spread(NamedTuple):
    """The uncertainty of a mean difference.

    Attributes:
      error: standard error over seeds and queries; over queries alone for one seed.
      df: degrees of freedom of `error`.
      seed_error: the part of `error` that the seeds add to that of the queries.
      seed_df: degrees of freedom that the seeds alone would leave; infinite for one
        seed.
    """

    error: float
    df: float
    seed_error: float
    seed_df: float


def spread(differences: np.ndarray) -> Spread:
    """Standard error of the mean of paired differences, with degrees of freedom.

    With the mean squares of seeds, queries and rest, each divided by S * Q,

        error^2 = M_queries + max(M_seeds - M_rest, 0)

    Its expectation is var(seed)/S + var(query)/Q + var(rest)/(S Q) where seeds matter.
    The degrees of freedom follow from the share w = M_seeds / error^2, at most 1:

        1 / df = w^(3/4) / (S - 1) + (1 - w) / (Q - 1)

    The share also counts where M_seeds is below M_rest: with few seeds that happens by
    chance, and seeds that matter then look as if they did not.

    Args:
      differences: [seeds, queries] float, without NaN.

    Examples:
      >>> one_seed = spread(np.array([[0.1, 0.2, 0.1, 0.1]]))
      >>> round(one_seed.error, 4), one_seed.df, one_seed.seed_error
      (0.025, 3.0, 0.0)

    References:
      Satterthwaite, An approximate distribution of estimates of variance components,
      Biometrics 1946. Owen, The pigeonhole bootstrap, Annals of Applied Statistics
      2007 (two crossed factors).
    """
    seeds, queries = differences.shape
    if queries < 2:
        return Spread(math.nan, math.nan, math.nan, math.nan)
    query_part = float(differences.mean(axis=0).var(ddof=1)) / queries
    seed_part, excess = _seed_parts(differences) if seeds > 1 else (0.0, 0.0)
    total = query_part + excess
    share = min(seed_part / total, 1.0) if total > 0 else 0.0
    doubt = share**0.75 / (seeds - 1) if share else 0.0
    df = 1 / (doubt + (1 - share) / (queries - 1))
    seed_df = 1 / doubt if doubt else math.inf
    return Spread(math.sqrt(total), df, math.sqrt(excess), seed_df)


def _seed_parts(differences: np.ndarray) -> tuple[float, float]:
    """Return the seeds' part of the squared error, and its excess over the rest."""
    seeds, queries = differences.shape
    of_query, of_seed = differences.mean(axis=0), differences.mean(axis=1)
    rest = differences - of_query - of_seed[:, None] + differences.mean()
    freedom = (seeds - 1) * (queries - 1)
    rest_part = float((rest**2).sum()) / freedom / (seeds * queries)
    seed_part = float(of_seed.var(ddof=1)) / seeds
    return seed_part, max(seed_part - rest_part, 0.0)


def smallest_visible(
    spread: Spread, *, power: float = POWER, level: float = LEVEL
) -> float:
    """Smallest true difference that a study detects with probability `power`.

    The difference at which the noncentral t distribution with the study's degrees of
    freedom exceeds the t quantile of the interval with probability `power`: so often
    the interval lies on the right side of 0.

    Examples:
      >>> large_sample = Spread(error=0.01, df=1e9, seed_error=0.0, seed_df=math.inf)
      >>> round(smallest_visible(large_sample), 4)
      0.028
      >>> three_seeds = Spread(error=0.01, df=2.0, seed_error=0.01, seed_df=2.0)
      >>> round(smallest_visible(three_seeds), 4)
      0.0565

    References:
      Owen, A survey of properties and applications of the noncentral t-distribution,
      Technometrics 1968.
    """
    from scipy import optimize, stats  # on use: half a second of every start

    if math.isnan(spread.error):
        return math.nan
    quantile = float(stats.t.isf((1 - level) / 2, min(spread.df, NORMAL)))
    if spread.df >= NORMAL:
        return (quantile + float(stats.norm.ppf(power))) * spread.error

    def missing(shift: float) -> float:
        return float(stats.nct.sf(quantile, spread.df, shift)) - power

    # The sum of two t quantiles is too small; a multiple of it is too large.
    root, _ = optimize.brentq(missing, 0, 2 * quantile + 10, full_output=True)
    return float(root) * spread.error


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
