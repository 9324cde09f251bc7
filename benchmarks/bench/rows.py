"""Ratios of the results of one run, with their goals."""

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from .processes import Result

Results = dict[str, list[Result]]
Number = Callable[[Result], float]


class Goal(NamedTuple):
    """A bound of a ratio.

    Attributes:
      least: whether the ratio has to be at least the bound, or at most.
      bound: the bound.
    """

    least: bool
    bound: float

    def reached(self, ratio: float) -> bool:
        """Return whether a ratio keeps the bound."""
        return ratio >= self.bound if self.least else ratio <= self.bound

    def __str__(self) -> str:
        """The goal in the words of the table."""
        return f"{'>=' if self.least else '<='} {self.bound:g}"


def at_least(bound: float) -> Goal:
    """Return the goal of a ratio that should be large."""
    return Goal(True, bound)


def at_most(bound: float) -> Goal:
    """Return the goal of a ratio that should be small."""
    return Goal(False, bound)


class Row(NamedTuple):
    """A line of the table.

    Attributes:
      measure: name of the measure.
      case: sizes of the work.
      ratio: quantity, and the side that it is divided by.
      values: the ratio of each round in which both were measured.
      goal: the bound of the median; None: there is none.
      reason: of a missing value, such as a peer that is not installed.
      cpu: the ratios by CPU seconds of all threads, which hold better than those of
        the wall clock on a machine with other work.
    """

    measure: str
    case: str
    ratio: str
    values: tuple[float, ...]
    goal: Goal | None = None
    reason: str = ""
    cpu: tuple[float, ...] = ()

    @property
    def median(self) -> float | None:
        """The median of the rounds; None where nothing was measured."""
        return median(self.values) if self.values else None

    @property
    def reached(self) -> bool | None:
        """Return whether the median reaches the goal; None without one of them."""
        if self.goal is None or self.median is None:
            return None
        return self.goal.reached(self.median)


def ratios(
    above: Sequence[Result], below: Sequence[Result], number: Number
) -> tuple[tuple[float, ...], str]:
    """Return the ratio of two tasks of each round, and why there is none.

    Args:
      above, below: results of the rounds.
      number: the quantity of a result that is divided.
    """
    pairs = list(zip(above, below, strict=True))
    whole = [p for p in pairs if not any("error" in one for one in p)]
    values = tuple(number(a) / number(b) for a, b in whole)
    errors = [one["error"] for pair in pairs for one in pair if "error" in one]
    return values, "" if values else (errors or ["not run"])[0]


def with_cpu(build: Callable[[Results], list[Row]], results: Results) -> list[Row]:
    """Return rows with their ratios by the wall clock and by CPU seconds.

    Args:
      build: returns the rows of results.
      results: of a measure, with seconds by the wall clock and, in "cpu", by all
        threads.
    """
    other = {
        name: [{**one, **one["cpu"]} if "cpu" in one else {"error": ""} for one in each]
        for name, each in results.items()
    }
    pairs = zip(build(results), build(other), strict=True)
    return [row._replace(cpu=by_cpu.values) for row, by_cpu in pairs]


def better(*peers: Sequence[Result], number: Number) -> list[Result]:
    """Return the result with the largest number, round by round.

    A round in which one of the peers failed has its error: nothing is the better of
    what was not measured.
    """
    found = []
    for results in zip(*peers, strict=True):
        failed = [one for one in results if "error" in one]
        found.append(failed[0] if failed else max(results, key=number))
    return found


def rate(result: Result) -> float:
    """Return steps per second, from the median step."""
    return 1 / step(result)


def step(result: Result) -> float:
    """Return the seconds of the median step."""
    return median(result["steps"])


def finite(row: Row) -> bool:
    """Return whether all values of a row are positive and finite."""
    return all(math.isfinite(value) and value > 0 for value in row.values)
