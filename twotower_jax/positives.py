"""Resampling of positives: the choices of ``positives=``, their weights and draws.

A few items have most of the clicks, so most positives are of popular items. A strategy
gives each item a weight w_i, the exact expected number of times that each of its c_i
positives appears in an epoch, and draws epochs with this expectation. The items of a
batch then follow the effective distribution q+_i = c_i w_i / sum_j c_j w_j in place of
c_i / C, where C = sum_j c_j.

Resampling by item moves the optimum of a softmax from log P(i | u) to
log P(i | u) + log w_i; an importance weight 1 / w_i per positive undoes that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from twotower_jax.errors import InputError
from twotower_jax.lazy import np
from twotower_jax.registry import Choice, Choices, check_local, key, keys_of

POSITIVES: Choices[Positives] = Choices("positives.strategy")


def _has_lists(values: Mapping[str, Any]) -> bool:
    return values["positives.lists.path"] is not None


@keys_of("positives.lists")
class ListsConfig:
    """Positives from the lists of another model, in training alone."""

    path: str | None = key(
        None,
        doc="table with columns user, item and perhaps rank: best items of users by "
        "another model, which are positives beside the clicks; null: none",
        example="positives.lists.path=lists.parquet",
    )
    length: int = key(
        10,
        low=1,
        decides=_has_lists,
        doc="items of each list that are read: those of the first ranks, without ranks "
        "the first rows of the user",
        example="positives.lists.path=lists.parquet positives.lists.length=5",
    )
    weight: float = key(
        0.3,
        above=0,
        high=100,
        decides=_has_lists,
        doc="weight of a listed item in the loss, in units of the mean click",
        example="positives.lists.path=lists.parquet positives.lists.weight=0.1",
    )

    def __post_init__(self) -> None:
        if self.path is not None:
            check_local("positives.lists.path", self.path)
            self.path = os.path.expanduser(self.path)


@dataclass(unsafe_hash=True)
class Positives(Choice):
    """Resampling of the positives, anew each epoch, and their weights in the loss.

    A subclass implements `weights`, and may have a `draw` of its own.
    """

    choices: ClassVar[Choices[Positives]] = POSITIVES
    # the key that leaves more positives when it is raised
    more: ClassVar[str] = "strategy"
    reweight = False

    strategy: str = ""
    weight: str | None = key(
        None,
        doc="column of the log with the weight of each positive, such as a grade or a "
        "watch time, in any unit; null: all weigh the same",
        example="data=table data.path=clicks.csv positives.weight=grade",
    )
    lists: ListsConfig = field(default_factory=ListsConfig)

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """Expected copies w_i of each of the c_i > 0 positives of an item per epoch."""
        raise NotImplementedError

    def draw(
        self, items: np.ndarray, weights: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Rows floor(w) times each, and once more with probability w - floor(w).

        Rows are independent, and ascend; for w below 1 a row is kept with probability
        w. Args and result are as of `draw_epoch`.
        """
        whole = np.floor(weights)
        extra = generator.random(len(items)) < (weights - whole)[items]
        rows = np.arange(len(items), dtype=np.int32)
        return np.repeat(rows, whole.astype(int)[items] + extra)


@POSITIVES.add
@dataclass(unsafe_hash=True)
class AllOnce(Positives):
    """Every positive once per epoch."""

    strategy: str = "none"

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """Weight 1."""
        return np.ones(len(counts))


@dataclass(unsafe_hash=True)
class Resampled(Positives):
    """Base of the strategies that move the optimum."""

    reweight: bool = key(
        False,
        doc="weigh a positive by 1 / w_i, which undoes the shift of the optimum",
        example="positives=downsample_hot positives.reweight=true",
    )


@dataclass(unsafe_hash=True)
class ToReference(Resampled):
    """Base of the strategies towards a number of clicks."""

    exponent: float = key(
        0.5,
        low=0,
        high=4,
        doc="exponent of reference / clicks",
        example="positives=downsample_hot positives.exponent=0.25",
    )
    reference: float | None = key(
        None,
        above=0,
        doc="clicks of an item that is neither cold nor hot; null: the mean over items "
        "with a positive",
        example="positives=downsample_hot positives.reference=50",
    )

    def ratio(self, counts: np.ndarray) -> np.ndarray:
        """(c_ref / c_i)^g, where c_ref is the mean count without a reference."""
        mean = float(counts.mean())
        reference = mean if self.reference is None else self.reference
        return (reference / counts) ** self.exponent


@POSITIVES.add
@dataclass(unsafe_hash=True)
class UpsampleCold(ToReference):
    """A cold item's positive enters min(max_repeat, max(1, (ref / clicks)^g)) times."""

    strategy: str = "upsample_cold"
    more: ClassVar[str] = "max_repeat"
    max_repeat: int = key(10, low=1, doc="most copies of a positive per epoch")

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """w_i = min(r_max, max(1, (c_ref / c_i)^g)), at least 1."""
        return np.minimum(self.max_repeat, np.maximum(1, self.ratio(counts)))


@POSITIVES.add
@dataclass(unsafe_hash=True)
class DownsampleHot(ToReference):
    """A hot item's positive is kept with probability min(1, (reference / clicks)^g)."""

    strategy: str = "downsample_hot"
    more: ClassVar[str] = "reference"

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """w_i = min(1, (c_ref / c_i)^g), in (0, 1]."""
        return np.minimum(1, self.ratio(counts))


@POSITIVES.add
@dataclass(unsafe_hash=True)
class Word2vec(Resampled):
    """A positive is kept with probability min(1, sqrt(threshold / f)): the paper.

    f is the share of the clicks that its item has.

    References:
      Mikolov et al., Distributed Representations of Words and Phrases and their
      Compositionality, NIPS 2013, eq. 5 (discards with 1 - sqrt(t / f)).
    """

    strategy: str = "word2vec"
    more: ClassVar[str] = "threshold"
    threshold: float = key(
        1e-3,
        above=0,
        doc="share of the clicks below which all positives of an item are kept",
        example="1.0e-4",
    )

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """w_i = min(1, sqrt(t / f_i)), f_i = c_i / C."""
        return np.minimum(1, np.sqrt(self.threshold * counts.sum() / counts))


@POSITIVES.add
@dataclass(unsafe_hash=True)
class Word2vecC(Word2vec):
    """Probability min(1, sqrt(threshold / f) + threshold / f): the program word2vec."""

    strategy: str = "word2vec_c"

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """w_i = min(1, sqrt(t / f_i) + t / f_i), f_i = c_i / C."""
        ratio = self.threshold * counts.sum() / counts
        return np.minimum(1, np.sqrt(ratio) + ratio)


@POSITIVES.add
@dataclass(unsafe_hash=True)
class Power(Resampled):
    """An item is drawn in proportion to clicks^exponent, then one of its positives."""

    strategy: str = "power"
    more: ClassVar[str] = "exponent"
    exponent: float = key(
        0.5,
        low=0,
        high=4,
        doc="exponent of the clicks; 1: none, in expectation; 0: all items alike",
    )

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """w_i = C (c_i^b / sum_j c_j^b) / c_i, for C draws per epoch."""
        # The ratio to the largest count, so that a large power does not overflow.
        share = (counts / counts.max()) ** self.exponent
        return counts.sum() * (share / share.sum()) / counts

    def draw(
        self, items: np.ndarray, weights: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """As many draws as there are rows, each independent and in proportion to w.

        Equivalent to drawing an item in proportion to c_i w_i and then one of its
        positives uniformly. The uniform numbers come in ascending order (normalised
        sums of exponential ones), so the look-up takes O(n).
        """
        ends = np.cumsum(weights[items])
        sums = np.cumsum(generator.standard_exponential(len(items) + 1))
        at = sums[:-1] * (ends[-1] / sums[-1])
        rows = np.searchsorted(ends, at, side="right")
        return np.minimum(rows, len(items) - 1).astype(np.int32)


@POSITIVES.add
@dataclass(unsafe_hash=True)
class Cap(Resampled):
    """At most cap positives per item and epoch, drawn anew each epoch."""

    strategy: str = "cap"
    more: ClassVar[str] = "cap"
    cap: int = key(100, low=1, doc="most positives per item and epoch")

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """w_i = min(1, k / c_i)."""
        return np.minimum(1, self.cap / counts)

    def draw(
        self, items: np.ndarray, weights: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Exactly round(c_i w_i) different rows of every item, drawn uniformly.

        All rows of items with w = 1 are taken. The others are shuffled and grouped by
        item, and the first rows of each group are taken.
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


# --- weights and draws of all items ---------------------------------------------------


def item_weights(strategy: Positives, counts: np.ndarray) -> np.ndarray:
    """Expected appearances w_i of each positive of an item in an epoch.

    Args:
      counts: [num_items] training positives c_i of each item.

    Returns:
      [num_items] float64, exact; 0 where c_i = 0.

    Raises:
      InputError: when an epoch is expected to have less than one positive.

    Examples:
      >>> item_weights(Cap(cap=2), np.array([4, 0, 2])).tolist()
      [0.5, 0.0, 1.0]
    """
    counts = np.asarray(counts, np.float64)
    clicked = counts > 0
    name = strategy.strategy
    if not clicked.any():
        raise InputError(
            f"positives.strategy={name!r} has nothing to draw from: no item has a "
            "training positive; check the data and its split"
        )
    weights = np.zeros(len(counts))
    weights[clicked] = strategy.weights(counts[clicked])
    expected = float(counts @ weights)
    # The tolerance is for rounding: 49 positives with w = 1 / 49 are one positive.
    if not expected > 1 - 1e-9:
        more, value = strategy.more, getattr(strategy, strategy.more)
        raise InputError(
            f"positives.{more}={value} leaves {expected:.3g} of {counts.sum():.0f} "
            f"positives per epoch (positives.strategy={name}); an epoch needs at least "
            "one: raise it, or choose another strategy"
        )
    return weights


def draw_epoch(
    strategy: Positives,
    items: np.ndarray,
    counts: np.ndarray,
    weights: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Numbers of the rows of one epoch, [drawn] int32, in no particular order.

    A row of item i is expected w_i times. The length changes from epoch to epoch, but
    not with power (as many as rows) and cap (sum of min(c_i, k)).

    Args:
      strategy: a choice of POSITIVES.
      items: [rows] item of each training positive.
      counts: [num_items] positives of each item, bincount(items).
      weights: [num_items] float64, the result of `item_weights`.
      generator: of the epoch.

    Examples:
      >>> items, rng = np.array([0, 1, 0]), np.random.default_rng(0)
      >>> draw_epoch(AllOnce(), items, np.array([2, 1]), np.ones(2), rng).tolist()
      [0, 1, 2]
    """
    if not np.array_equal(np.bincount(items, minlength=len(counts)), counts):
        raise ValueError("counts must be the number of rows of each item, bincount")
    return strategy.draw(items, weights, generator)
