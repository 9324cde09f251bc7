"""How often the verdicts of a study are right, in simulated studies.

    python benchmarks/verdicts.py [--studies 2000] [--seeds 2 3 5 10]

A study has two arms, some seeds and 200 queries. The difference of a query in a seed is
the true difference plus normal deviations of the seed, of the query, and of both
together. The share of the seeds in the squared error of the mean goes from none to
nearly all; the rest of a query and a seed has 30 % of what the queries make.

The table has, per number of seeds and share: the coverage of the 95 % interval; the
rate of "better" or "worse" without a true difference (at most 5 %); the rate of
"within 2 %" at a true difference of exactly the margin (at most 5 %); and the rate of
"better" at the smallest visible difference (80 %). The last column has the rate of any
"better" or "worse" among eight arms and a base that are alike (at most 5 %). The rule
that refuses verdicts of two seeds is left out.
"""

import argparse
import math
from typing import NamedTuple

import numpy as np

from twotower_jax.study.permutation import holm
from twotower_jax.study.spread import Spread, smallest_visible
from twotower_jax.study.statistics import compare
from twotower_jax.study.verdicts import BETTER, SEEDS, WITHIN, WORSE, verdict

QUERIES, REST, ARMS = 200, 0.3, 8
SHARES = (0.0, 0.1, 0.5, 0.9, 0.99)
# The reference's mean, in errors of the difference: the margin of 2 % is ten errors.
BASE = 500.0
MARGIN = 0.02 * BASE

HEADS = ("seeds", "share of the seeds", "interval covers", "better or worse, alike")
HEADS += ("within 2 %, at the margin", "better, at the smallest visible")
HEADS += (f"any of {ARMS} arms, alike",)


class Rates(NamedTuple):
    """Shares of simulated studies.

    Attributes:
      coverage: with an interval that holds the true difference.
      false: with "better" or "worse" between arms that are alike.
      within: with "within 2 %" between arms that differ by the margin.
      power: with "better" for an arm with the smallest visible difference.
    """

    coverage: float
    false: float
    within: float
    power: float


def deviations(
    rng: np.random.Generator, seeds: int, share: float, queries: int = QUERIES
) -> np.ndarray:
    """Return differences without an effect whose mean has a standard error of 1.

    Args:
      rng: the generator.
      seeds, queries: numbers of both.
      share: the part of the squared error that the seeds make.

    Returns:
      [seeds, queries] float64.
    """
    of_seeds = math.sqrt(share * seeds)
    of_queries = math.sqrt((1 - share) * (1 - REST) * queries)
    rest = math.sqrt((1 - share) * REST * seeds * queries)
    return (
        of_seeds * rng.standard_normal((seeds, 1))
        + of_queries * rng.standard_normal(queries)
        + rest * rng.standard_normal((seeds, queries))
    )


def true_spread(seeds: int, share: float, queries: int = QUERIES) -> Spread:
    """Return the spread of these differences, from the variances themselves."""
    part = share + (1 - share) * REST  # of the mean square of seeds
    doubt = part / (seeds - 1)
    return Spread(1.0, 1 / (doubt + (1 - part) / (queries - 1)), 0.0, 1 / doubt)


def word(differences: np.ndarray, study: int) -> str:
    """Return the verdict on [seeds, queries] differences, also of two seeds."""
    base = np.full_like(differences, BASE)
    one = compare(base + differences, base, draws=1000, flips=1000, seed=study)
    return verdict(one._replace(seeds=max(one.seeds, SEEDS)), one.p)


def simulate(seeds: int, share: float, studies: int, seed: int = 0) -> Rates:
    """Return the rates of verdicts between two arms.

    Args:
      seeds: number of seeds, at least 2.
      share: the part of the squared error that the seeds make.
      studies: number of simulated studies.
      seed: of the simulation.
    """
    rng = np.random.default_rng([seeds, int(100 * share), seed])
    visible = smallest_visible(true_spread(seeds, share))
    found = []
    for study in range(studies):
        noise = deviations(rng, seeds, share)
        interval = compare(noise, 0 * noise, draws=1000, flips=1, seed=study).interval
        found.append(
            (
                interval.low <= 0 <= interval.high,
                word(noise, study).startswith((BETTER, WORSE)),
                WITHIN in word(MARGIN * rng.choice((-1, 1)) + noise, study),
                word(visible + noise, study).startswith(BETTER),
            )
        )
    return Rates(*map(float, np.mean(found, axis=0)))


def family(seeds: int, share: float, studies: int, seed: int = 0) -> float:
    """Return the share of studies of equal arms with any "better" or "worse".

    Args:
      seeds: number of seeds, at least 2.
      share: the part of the squared error of a difference that the seeds make.
      studies: number of simulated studies of ARMS arms and a base.
      seed: of the simulation.
    """
    rng = np.random.default_rng([seeds, int(100 * share), seed, ARMS])
    wrong = 0
    for study in range(studies):
        arms = [deviations(rng, seeds, share) for _ in range(ARMS + 1)]
        p = [
            compare(arm, arms[0], draws=2, flips=2000, seed=study).p for arm in arms[1:]
        ]
        wrong += bool((holm(np.array(p)) < 0.05).any())
    return wrong / studies


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 5, 10])
    options = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for seeds in options.seeds:
        for share in SHARES:
            rates = simulate(seeds, share, options.studies)
            every = family(seeds, share, options.studies // 2)
            cells = " | ".join(f"{100 * rate:.1f} %" for rate in (*rates, every))
            print(f"| {seeds} | {100 * share:.0f} % | {cells} |", flush=True)


if __name__ == "__main__":
    main()
