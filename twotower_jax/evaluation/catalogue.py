"""Catalogue metrics: one value of the lists of all queries together."""

from typing import NamedTuple

import numpy as np

from twotower_jax.data import concentration


class Exposure(NamedTuple):
    """How often each of I items is listed, and its training interactions.

    Attributes:
      times: [I] int64, lists whose first k items contain the item.
      counts: [I] float64, training interactions of the item.
    """

    times: np.ndarray
    counts: np.ndarray


def coverage(exposure: Exposure) -> float:
    """Share of the catalogue that is in at least one list.

    Examples:
      >>> coverage(Exposure(np.array([3, 1, 0, 0]), np.ones(4)))
      0.5
    """
    return float(np.count_nonzero(exposure.times) / len(exposure.times))


def gini(exposure: Exposure) -> float:
    """Gini coefficient of the number of lists per item; NaN where all lists are empty.

    0 where all items are listed equally often, (I - 1) / I where only one is.

    Examples:
      >>> gini(Exposure(np.array([0, 0, 0, 5]), np.ones(4)))
      0.75
    """
    if not exposure.times.any():
        return float("nan")
    return concentration.gini(exposure.times)


def arp(exposure: Exposure) -> float:
    """Average recommendation popularity; NaN where all lists are empty.

      sum_i times_i counts_i / sum_i times_i

    Examples:
      >>> arp(Exposure(np.array([3, 1]), np.array([10.0, 2.0])))
      8.0

    References:
      Yin et al., Challenging the Long Tail Recommendation, VLDB 2012.
    """
    total = int(exposure.times.sum())
    return float(exposure.times @ exposure.counts / total) if total else float("nan")
