"""Metrics of true clicks: one value per query, where click probabilities are known."""

from typing import NamedTuple

import numpy as np


class Clicks(NamedTuple):
    """P(click | looked at) of the first k items of each list, and of the best list.

    Attributes:
      listed: [Q, k] float64, of the items of the list; NaN where it is shorter.
      best: [Q, k] float64, of the items most probably clicked; NaN where none is left.
    """

    listed: np.ndarray
    best: np.ndarray


def true_ctr(clicks: Clicks) -> np.ndarray:
    """Mean probability of a click on the items of the list; NaN for an empty list.

    Examples:
      >>> true_ctr(Clicks(np.array([[0.5, 0.25]]), np.array([[0.5, 0.5]])))
      array([0.375])
    """
    with np.errstate(invalid="ignore"):
        return np.nanmean(clicks.listed, axis=1)


def true_gain(clicks: Clicks) -> np.ndarray:
    """Click probability of the list over that of the best list; 1 is perfect.

    Examples:
      >>> true_gain(Clicks(np.array([[0.5, 0.25]]), np.array([[0.5, 0.5]])))
      array([0.75])
    """
    with np.errstate(invalid="ignore"):
        return true_ctr(clicks) / np.nanmean(clicks.best, axis=1)
