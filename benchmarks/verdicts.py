"""How often the verdicts of a study are right, in simulated studies.

    python benchmarks/verdicts.py [--studies 2000] [--seeds 2 3 5 10] [--shares 0 0.5]

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
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twotower_jax.study.statistics import (
    Difference,
    Spread,
    compare_all,
    holm,
    smallest_visible,
)
from twotower_jax.study.verdicts import BETTER, SEEDS, WITHIN, WORSE, verdict

QUERIES, REST, ARMS = 200, 0.3, 8
TOGETHER = 50  # studies that are compared at once
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
    doubt = part**0.75 / (seeds - 1)
    return Spread(1.0, 1 / (doubt + (1 - part) / (queries - 1)), 0.0, 1 / doubt)


def compared(noise: Sequence[np.ndarray], seed: int) -> list[Difference]:
    """Return the comparison of an arm with a reference of mean BASE, for each study.

    Args:
      noise: per study its differences [seeds, queries].
      seed: of the draws, which these studies share.
    """
    pairs = [(BASE + one, np.full_like(one, BASE)) for one in noise]
    return compare_all(pairs, flips=2000, seed=seed)


def word(one: Difference) -> str:
    """Return the verdict on a single difference, also of two seeds."""
    return verdict(one._replace(seeds=max(one.seeds, SEEDS)), one.decisive_p)


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
    for first in range(0, studies, TOGETHER):
        noise = [deviations(rng, seeds, share) for _ in range(TOGETHER)]
        sides = rng.choice((-MARGIN, MARGIN), TOGETHER)
        at_margin = [side + one for side, one in zip(sides, noise, strict=True)]
        cases = [*noise, *at_margin, *(visible + one for one in noise)]
        every = compared(cases, first)
        for alike, apart, seen in zip(
            every[:TOGETHER], every[TOGETHER:-TOGETHER], every[-TOGETHER:], strict=True
        ):
            low, high = alike.interval[1:3]
            found.append(
                (
                    low <= 0 <= high,
                    word(alike).startswith((BETTER, WORSE)),
                    WITHIN in word(apart),
                    word(seen).startswith(BETTER),
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
        base, *arms = (deviations(rng, seeds, share) for _ in range(ARMS + 1))
        every = compare_all([(arm, base) for arm in arms], draws=2, seed=study)
        wrong += bool((holm(np.array([one.p for one in every])) < 0.05).any())
    return wrong / studies


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 5, 10])
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    options = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for seeds in options.seeds:
        for share in options.shares:
            rates = simulate(seeds, share, options.studies)
            every = family(seeds, share, options.studies // 2)
            cells = " | ".join(f"{100 * rate:.1f} %" for rate in (*rates, every))
            print(f"| {seeds} | {100 * share:.0f} % | {cells} |", flush=True)


if __name__ == "__main__":
    main()
