"""FunnelLog: what happened to (request, item) pairs on their way to a click."""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
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
      kind: "categorical", "multi" or "numeric".
      values: categorical int32 [n]; multi int32 [n, width]; numeric float32 [n].
        Codes are 0..size-1, and -1 means missing (or padding of a short list).
        Numeric values are standardised over the entities (mean 0, deviation 1), a
        missing value is 0.
      size: number of codes; 0 for numeric.
    """

    kind: str
    values: np.ndarray
    size: int = 0


@dataclass(frozen=True)
class FunnelLog:
    """A validated log, with ids replaced by codes in order of first appearance.

    Attributes:
      user: [rows] int32 codes into ``user_ids``.
      item: [rows] int32 codes into ``item_ids``.
      stage: [rows] int8, a ``Stage``; ``Stage.CLICKED`` rows are the positives.
      time: [rows] float64 seconds, or None for a log without times.
      request: [rows] int64, or None.
      rank: [rows] int32, place of an item within its stage of the request, from 0
        (the best), -1 where it is not known; None for a log without ranks.
      part: [rows] int8, 0 train, 1 valid, 2 test where the data comes split.
      user_ids, item_ids: ids as they came, by code.
      user_features, item_features: by name.
      dropped: how much was left out, by reason (which names what is counted).
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
    """Positives: [n] int32 user and item codes, float64 times, int64 requests."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None = None
    request: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Split:
    """Positives for fitting, for choosing and for reporting, and what got lost."""

    train: Pairs
    valid: Pairs
    test: Pairs
    report: dict[str, int] = field(default_factory=dict)
