"""The distribution of resampled positives, and how concentrated they are."""

from typing import Any

import numpy as np

from twotower_jax.data.concentration import gini
from twotower_jax.sampling.mixture import log_frequency


def log_effective(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log of the effective distribution: log q+_i = log(c_i w_i / sum_j c_j w_j).

    q+ is the distribution of the items of a batch, which the correction of in-batch
    negatives subtracts.

    Args:
      counts: [num_items] training positives c_i of each item.
      weights: [num_items] float64 w_i.

    Returns:
      [num_items] float32; -inf where c_i w_i = 0.

    Examples:
      >>> np.exp(log_effective(np.array([1, 4]), np.array([1.0, 0.75]))).tolist()
      [0.25, 0.75]
    """
    return log_frequency(np.asarray(counts) * weights)


def resampling_report(counts: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Concentration of the positives before and after resampling.

    Args:
      counts: [num_items] positives c_i of each item, not all 0.
      weights: [num_items] float64 w_i, the result of `item_weights`.

    Returns:
      Values for c_i with "before" and for c_i w_i (expected) with "after" at the end of
      the key:
      "samples": positives per epoch.
      "top 1% share": share of the ceil(num_items / 100) most frequent items.
      "gini": Gini coefficient over the whole catalogue.
      "effective items": 1 / sum_i q_i^2, q the shares; the number of items when all
      are equal.
      And "effective samples": (sum c w)^2 / sum c w^2, the number of positives of equal
      weight that are worth as much as all of them with these weights over many epochs
      (Kish 1965); "samples before" when w is constant, never more.

    Examples:
      >>> report = resampling_report(np.array([3, 1]), np.array([1 / 3, 1]))
      >>> report["gini before"], report["gini after"], report["effective samples"]
      (0.25, 0.0, 3.0)

    References:
      Kish, Survey Sampling, Wiley 1965.
    """
    counts, weights = np.asarray(counts, np.float64), np.asarray(weights, np.float64)
    before = after = _concentration(counts)
    if (weights[counts > 0] != 1).any():
        after = _concentration(counts * weights)
    report: dict[str, Any] = {f"{name} before": one for name, one in before.items()}
    report |= {f"{name} after": one for name, one in after.items()}
    report["effective samples"] = (counts @ weights) ** 2 / (counts @ weights**2)
    return {key: float(value) for key, value in report.items()}


def _concentration(number: np.ndarray) -> dict[str, Any]:
    """Return how unevenly numbers [num_items] of positives are spread over items."""
    number = np.sort(number)
    items, total = len(number), number.sum()
    top = (items + 99) // 100
    return {
        "samples": total,
        "top 1% share": number[items - top :].sum() / total,
        "gini": gini(number),
        "effective items": total**2 / (number @ number),
    }
