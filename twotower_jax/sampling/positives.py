"""Resampling of positives: how often a positive of each item enters an epoch.

A few items have most of the clicks, so most positives are of popular items. A strategy
gives each item a weight w_i, the exact expected number of times that each of its c_i
positives appears in an epoch, and draws epochs with this expectation. The items of a
batch then follow the effective distribution q+_i = c_i w_i / sum_j c_j w_j in place of
c_i / C, where C = sum_j c_j.

Resampling by item moves the optimum of a softmax from log P(i | u) to
log P(i | u) + log w_i; an importance weight 1 / w_i per positive undoes that.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from twotower_jax.data.concentration import gini
from twotower_jax.errors import InputError
from twotower_jax.registry import Registry
from twotower_jax.sampling.mixture import log_frequency
from twotower_jax.sampling.positive_draws import (
    repeated,
    with_replacement,
    without_replacement,
)
from twotower_jax.sampling.positive_weights import (
    DEFAULTS,
    Settings,
    cap,
    downsample_hot,
    none,
    power,
    upsample_cold,
    word2vec,
    word2vec_c,
)


class Strategy(NamedTuple):
    """How positives are resampled.

    Attributes:
      weights: (counts [n] > 0, settings) -> w [n].
      draw: (items [rows], w [num_items], generator) -> row numbers of an epoch.
      key: the setting that leaves more positives when it is raised.
    """

    weights: Callable[[np.ndarray, Settings], np.ndarray]
    draw: Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
    key: str


POSITIVES = Registry(
    "positives.strategy",
    {
        "none": Strategy(none, repeated, "strategy"),
        "upsample_cold": Strategy(upsample_cold, repeated, "max_repeat"),
        "downsample_hot": Strategy(downsample_hot, repeated, "reference"),
        "word2vec": Strategy(word2vec, repeated, "threshold"),
        "word2vec_c": Strategy(word2vec_c, repeated, "threshold"),
        "power": Strategy(power, with_replacement, "exponent"),
        "cap": Strategy(cap, without_replacement, "cap"),
    },
)


def item_weights(
    name: str, counts: np.ndarray, settings: Settings = DEFAULTS
) -> np.ndarray:
    """Expected appearances w_i of each positive of an item in an epoch.

    Args:
      name: a strategy of POSITIVES.
      counts: [num_items] training positives c_i of each item.
      settings: the numbers of the strategy.

    Returns:
      [num_items] float64, exact; 0 where c_i = 0.

    Raises:
      InputError: when the name is unknown, or an epoch is expected to have less than
        one positive.

    Examples:
      >>> item_weights("cap", np.array([4, 0, 2]), Settings(cap=2)).tolist()
      [0.5, 0.0, 1.0]
    """
    strategy = POSITIVES[name]
    counts = np.asarray(counts, np.float64)
    some = counts > 0
    if not some.any():
        raise InputError(
            f"positives.strategy={name!r} has nothing to draw from: no item has a "
            "training positive; check the data and its split"
        )
    weights = np.zeros(len(counts))
    weights[some] = strategy.weights(counts[some], settings)
    expected = float(counts @ weights)
    # The tolerance is for rounding: 49 positives with w = 1 / 49 are one positive.
    if not expected > 1 - 1e-9:
        raise _too_few(name, counts, expected, settings)
    return weights


def _too_few(
    name: str, counts: np.ndarray, expected: float, settings: Settings
) -> InputError:
    """Return the error for an epoch of less than one expected positive."""
    key = POSITIVES[name].key
    value = settings._asdict().get(key, name)
    return InputError(
        f"positives.{key}={value} leaves {expected:.3g} of "
        f"{counts.sum():.0f} positives per epoch (positives.strategy={name}); "
        "an epoch needs at least one: raise it, or choose another strategy"
    )


def draw_epoch(
    name: str,
    items: np.ndarray,
    counts: np.ndarray,
    weights: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Positives of one epoch, in no particular order.

    Args:
      name: a strategy of POSITIVES.
      items: [rows] item of each training positive.
      counts: [num_items] positives of each item, bincount(items).
      weights: [num_items] float64, the result of `item_weights`.
      generator: of the epoch.

    Returns:
      [drawn] int32 numbers of rows; a row of item i is expected w_i times. The length
      changes from epoch to epoch, except with power (as many as rows) and cap (sum of
      min(c_i, k)).

    Raises:
      InputError: when the name is unknown.
      ValueError: when the counts are not those of the items.

    Examples:
      >>> items, rng = np.array([0, 1, 0]), np.random.default_rng(0)
      >>> draw_epoch("none", items, np.array([2, 1]), np.ones(2), rng).tolist()
      [0, 1, 2]
    """
    strategy = POSITIVES[name]
    if not np.array_equal(np.bincount(items, minlength=len(counts)), counts):
        raise ValueError("counts must be the number of rows of each item, bincount")
    return strategy.draw(items, weights, generator)


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
