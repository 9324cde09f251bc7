"""Resampling of positives: how often a positive of each item enters an epoch.

A few items have most of the clicks, so positives are mostly of hot items. A strategy
gives each item a weight w_i, the exact expected number of times that each of its c_i
positives appears in an epoch, and draws epochs that keep to it. What a batch holds is
then the effective distribution q+_i = c_i w_i / sum_j c_j w_j, not c_i / C.

Resampling by item moves the optimum of a softmax from log P(i | u) to
log P(i | u) + log w_i; an importance weight 1 / w_i a positive undoes that.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twotower_jax.data.concentration import gini
from twotower_jax.errors import InputError, unknown
from twotower_jax.sampling.mixture import log_frequency


class Settings(NamedTuple):
    """The numbers of all strategies; a strategy reads its own.

    Attributes:
      exponent: g of upsample_cold and downsample_hot, b of power.
      reference: c_ref of both, a number of positives.
      max_repeat: r_max of upsample_cold.
      threshold: t of word2vec.
      cap: positives an item and epoch of cap.
    """

    exponent: float
    reference: float
    max_repeat: float
    threshold: float
    cap: int


def none(counts: np.ndarray, chosen: Settings) -> np.ndarray:
    """Return w = 1: every positive once an epoch."""
    del chosen
    return np.ones(len(counts))


def upsample_cold(counts: np.ndarray, chosen: Settings) -> np.ndarray:
    """Return r_i = min(r_max, max(1, (c_ref / c_i)^g)): cold items are repeated."""
    ratio = (chosen.reference / counts) ** chosen.exponent
    return np.minimum(chosen.max_repeat, np.maximum(1, ratio))


def downsample_hot(counts: np.ndarray, chosen: Settings) -> np.ndarray:
    """Return k_i = min(1, (c_ref / c_i)^g): positives of hot items are dropped."""
    return np.minimum(1, (chosen.reference / counts) ** chosen.exponent)


def word2vec(counts: np.ndarray, chosen: Settings) -> np.ndarray:
    """Return k_i = min(1, sqrt(t / f_i)), f_i = c_i / C, as in the paper.

    References:
      Mikolov et al., Distributed Representations of Words and Phrases and their
      Compositionality, NIPS 2013, eq. 5 (discards with 1 - sqrt(t / f)).
    """
    return np.minimum(1, np.sqrt(chosen.threshold * counts.sum() / counts))


def word2vec_c(counts: np.ndarray, chosen: Settings) -> np.ndarray:
    """Return k_i = min(1, sqrt(t / f_i) + t / f_i), as in the C program word2vec."""
    ratio = chosen.threshold * counts.sum() / counts
    return np.minimum(1, np.sqrt(ratio) + ratio)


def power(counts: np.ndarray, chosen: Settings) -> np.ndarray:
    """Return w_i = C (c_i^b / sum c^b) / c_i: items are drawn from c^b, C draws.

    b = 1 is none in expectation, b = 0 has every item alike.
    """
    # The ratio to the largest count, so that a large power does not overflow.
    share = (counts / counts.max()) ** chosen.exponent
    return counts.sum() * (share / share.sum()) / counts


def cap(counts: np.ndarray, chosen: Settings) -> np.ndarray:
    """Return w_i = min(1, k / c_i): at most k positives an item and epoch."""
    return np.minimum(1, chosen.cap / counts)


def repeated(
    items: np.ndarray, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw each row floor(w) times, and once more with the chance of the rest.

    Below 1 this keeps a row with probability w. Rows are independent.
    """
    whole = np.floor(weights)
    extra = generator.random(len(items)) < (weights - whole)[items]
    return np.repeat(
        np.arange(len(items), dtype=np.int32), whole.astype(int)[items] + extra
    )


def with_replacement(
    items: np.ndarray, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw as many rows as there are, each independently in proportion to w.

    The same as to draw an item in proportion to c_i w_i and then one of its positives
    uniformly. The uniform numbers come in ascending order (normalised sums of
    exponential ones), which looks them up in O(n).
    """
    ends = np.cumsum(weights[items])
    sums = np.cumsum(generator.standard_exponential(len(items) + 1))
    at = sums[:-1] * (ends[-1] / sums[-1])
    rows = np.searchsorted(ends, at, side="right")
    return np.minimum(rows, len(items) - 1).astype(np.int32)


def without_replacement(
    items: np.ndarray, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw exactly round(c_i w_i) different rows of every item, uniformly.

    Rows of items with w = 1 are all taken; the others are shuffled and grouped by
    item, and the first of each group are taken.
    """
    full = weights[items] >= 1
    rest = generator.permutation(np.flatnonzero(~full))
    rest = rest[np.argsort(items[rest], kind="stable")]
    number = np.bincount(items[rest], minlength=len(weights))
    begin = np.cumsum(number) - number
    quota = np.rint(number * weights).astype(int)
    within = np.arange(len(rest)) - np.repeat(begin, number)
    taken = rest[within < np.repeat(quota, number)]
    return np.concatenate([np.flatnonzero(full), taken]).astype(np.int32)


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


POSITIVES: dict[str, Strategy] = {
    "none": Strategy(none, repeated, "strategy"),
    "upsample_cold": Strategy(upsample_cold, repeated, "max_repeat"),
    "downsample_hot": Strategy(downsample_hot, repeated, "reference"),
    "word2vec": Strategy(word2vec, repeated, "threshold"),
    "word2vec_c": Strategy(word2vec_c, repeated, "threshold"),
    "power": Strategy(power, with_replacement, "exponent"),
    "cap": Strategy(cap, without_replacement, "cap"),
}


def item_weights(
    name: str,
    counts: np.ndarray,
    *,
    exponent: float = 0.5,
    reference: float | None = None,
    max_repeat: float = 10,
    threshold: float = 1e-3,
    cap: int = 100,
) -> np.ndarray:
    """Return w_i, the expected appearances of each positive of an item in an epoch.

    Args:
      name: a strategy of POSITIVES.
      counts: [num_items] training positives c_i of each item.
      exponent: g of upsample_cold and downsample_hot, b of power.
      reference: c_ref of both; None is the mean count of the items that have a
        positive.
      max_repeat: r_max of upsample_cold.
      threshold: t of word2vec and word2vec_c.
      cap: positives an item and epoch of cap.

    Returns:
      [num_items] float64, exact; 0 where c_i = 0.

    Raises:
      InputError: when the name is unknown, or an epoch is expected to have less than
        one positive.

    Examples:
      >>> item_weights("cap", np.array([4, 0, 2]), cap=2).tolist()
      [0.5, 0.0, 1.0]
    """
    if name not in POSITIVES:
        raise unknown("positives.strategy", name, POSITIVES)
    counts = np.asarray(counts, np.float64)
    some = counts > 0
    if not some.any():
        raise InputError(
            f"positives.strategy={name!r} has nothing to draw from: no item has a "
            "training positive; check the data and its split"
        )
    mean = float(counts[some].mean())
    chosen = Settings(
        exponent, mean if reference is None else reference, max_repeat, threshold, cap
    )
    weights, strategy = np.zeros(len(counts)), POSITIVES[name]
    weights[some] = strategy.weights(counts[some], chosen)
    expected = float(counts @ weights)
    # The tolerance is for rounding: 49 positives with w = 1 / 49 are one positive.
    if not expected > 1 - 1e-9:
        value = chosen._asdict().get(strategy.key, name)
        raise InputError(
            f"positives.{strategy.key}={value} leaves {expected:.3g} of "
            f"{counts.sum():.0f} positives an epoch (positives.strategy={name}); "
            "an epoch needs at least one: raise it, or choose another strategy"
        )
    return weights


def draw_epoch(
    name: str,
    items: np.ndarray,
    counts: np.ndarray,
    weights: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw the positives of one epoch, in no particular order.

    Args:
      name: a strategy of POSITIVES.
      items: [rows] item of each training positive.
      counts: [num_items] positives of each item, bincount(items).
      weights: [num_items], what `item_weights` returns for them.
      generator: of the epoch.

    Returns:
      [drawn] int32 numbers of rows; a row of item i is expected w_i times. How many
      there are changes from epoch to epoch, except with power (as many as rows) and
      cap (sum of min(c_i, k)).

    Raises:
      InputError: when the name is unknown.
      ValueError: when the counts are not those of the items.
    """
    if name not in POSITIVES:
        raise unknown("positives.strategy", name, POSITIVES)
    if not np.array_equal(np.bincount(items, minlength=len(counts)), counts):
        raise ValueError("counts must be the number of rows of each item, bincount")
    return POSITIVES[name].draw(items, weights, generator)


def log_effective(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return log q+_i = log(c_i w_i / sum_j c_j w_j), [num_items] float32.

    q+ is the distribution of the items of a batch, which the correction of in-batch
    negatives subtracts; -inf where c_i w_i = 0.
    """
    return log_frequency(np.asarray(counts) * weights)


def resampling_report(counts: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Return what resampling does to the distribution of items.

    Args:
      counts: [num_items] positives c_i of each item, not all 0.
      weights: [num_items] w_i, what `item_weights` returns.

    Returns:
      With "before" for c_i and "after" for c_i w_i (expected) at the end of a key:
      "samples": positives an epoch.
      "top 1% share": share of the ceil(num_items / 100) most frequent items.
      "gini": over the whole catalogue; 0 when all items are alike.
      "effective items": 1 / sum_i q_i^2, q the shares; the number of items when all
      are alike.
      And "effective samples": (sum c w)^2 / sum c w^2, how many of the positives,
      were they weighted alike, are worth as much as all of them with these weights
      over many epochs (Kish 1965); "samples before" when w is constant, never more.
    """
    counts, weights = np.asarray(counts, np.float64), np.asarray(weights, np.float64)
    report = {}
    for when, number in (("before", counts), ("after", counts * weights)):
        number = np.sort(number)
        items, total = len(number), number.sum()
        top = (items + 99) // 100
        report |= {
            f"samples {when}": total,
            f"top 1% share {when}": number[items - top :].sum() / total,
            f"gini {when}": gini(number),
            f"effective items {when}": total**2 / (number @ number),
        }
    report["effective samples"] = (counts @ weights) ** 2 / (counts @ weights**2)
    return {key: float(value) for key, value in report.items()}
