"""FunnelLog: the furthest stage of each item of a request, up to the click."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # the library layer reads the types without polars
    import polars as pl


class Stage(IntEnum):
    """The furthest stage of the funnel that an item reached in a request."""

    RETRIEVED = 0
    PRE_RANKED = 1
    RANKED = 2
    RE_RANKED = 3
    EXPOSED = 4
    CLICKED = 5


@dataclass(frozen=True)
class Feature:
    """One feature of every user or of every item.

    Attributes:
      kind: "categorical", "multi", "numeric" or "vector".
      values: categorical int32 [n]; multi int32 [n, width]; numeric float32 [n];
        vector float32 [n, width].
        Codes are 0..size-1, and -1 is a missing value (or padding of a short list).
        Numeric values are standardised over the users or items (mean 0, standard
        deviation 1); a missing value is 0. Vectors have length 1, missing ones are 0.
      size: number of codes; 0 for numeric and vector.
      vocabulary: the values of the input by code; None for numeric and vector.
      mean, deviation: of the input of a numeric feature; its values are
        (input - mean) / deviation, or 0 where the deviation is 0.
    """

    kind: str
    values: np.ndarray
    size: int = 0
    vocabulary: pl.Series | None = None
    mean: float = 0.0
    deviation: float = 1.0


@dataclass(frozen=True)
class FunnelLog:
    """A validated log, with ids replaced by codes in order of first appearance.

    Attributes:
      user: [rows] int32 codes into ``user_ids``.
      item: [rows] int32 codes into ``item_ids``.
      stage: [rows] int8, a ``Stage``; ``Stage.CLICKED`` rows are the positives.
      time: [rows] float64 seconds, or None for a log without times.
      request: [rows] int64, or None.
      rank: [rows] int32, rank of an item within its stage of the request, from 0
        (the best), -1 for an unknown rank; None for a log without ranks.
      part: [rows] int8, 0 train, 1 valid, 2 test; None for data without parts.
      weight: [rows] float64, at least 0, weight of a positive; None without weights.
      user_ids, item_ids: ids of the input, by code.
      user_features, item_features: features by name.
      dropped: {unit and reason: number left out}.
    """

    user: np.ndarray
    item: np.ndarray
    stage: np.ndarray
    user_ids: pl.Series
    item_ids: pl.Series
    time: np.ndarray | None = None
    request: np.ndarray | None = None
    rank: np.ndarray | None = None
    part: np.ndarray | None = None
    weight: np.ndarray | None = None
    user_features: dict[str, Feature] = field(default_factory=dict)
    item_features: dict[str, Feature] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def num_users(self) -> int:
        """Number of distinct users (queries)."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Number of distinct items: the catalogue."""
        return len(self.item_ids)


@dataclass(frozen=True)
class Pairs:
    """Positives.

    Attributes:
      user: [n] int32 codes.
      item: [n] int32 codes.
      time: [n] float64 seconds, or None.
      request: [n] int64, or None.
      weight: [n] float64, at least 0, or None.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None = None
    request: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user)

    def join(self, later: Pairs) -> Pairs:
        """Return these positives, then others, without weights."""

        def both(name: str) -> np.ndarray | None:
            first, second = getattr(self, name), getattr(later, name)
            if first is None or second is None:
                return None
            return np.concatenate([first, second])

        return Pairs(
            np.concatenate([self.user, later.user]),
            np.concatenate([self.item, later.item]),
            both("time"),
            both("request"),
        )


@dataclass(frozen=True)
class Split:
    """Positives to train on, to select by and to report on.

    Attributes:
      train, valid, test: the parts.
      report: {count: number} of rows left out and of unseen users and items.
      before: positives before ``data.since``, which are not trained on; None without.
      listed: number of the last positives of ``train`` that are no clicks, but items of
        the lists of another model.
    """

    train: Pairs
    valid: Pairs
    test: Pairs
    report: dict[str, int] = field(default_factory=dict)
    before: Pairs | None = None
    listed: int = 0

    @property
    def known(self) -> Pairs:
        """All positives up to the end of training: those of histories and masks."""
        return self.train if self.before is None else self.before.join(self.train)
