"""The uncertainty of a mean difference over seeds and queries.

The differences of two arms, paired by seed and query, follow the model

    d[s, q] = effect + seed[s] + query[q] + rest[s, q]

where seeds and queries are both random samples.

The degrees of freedom are a compromise that simulations confirm (docs/statistics.md).
With three or more seeds, tests at 5 % raise a false alarm in at most 5.3 % of studies
at every share of the seeds in the error, and with five in at most 5 % of families of
eight arms. Satterthwaite's exponent of the shares, 2 instead of 3/4, gives 8 % with
three seeds; 1/2 makes intervals a quarter too long where seeds matter little. Two seeds
are too few for every exponent.
"""

import math
from typing import NamedTuple

import numpy as np

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
