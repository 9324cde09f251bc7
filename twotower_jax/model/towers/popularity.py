"""Popularity, and the items that a user had before: baselines without numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from twotower_jax.lazy import np
from twotower_jax.model.towers.choice import Baseline, Clicks, Scores, baseline


@baseline
@dataclass(unsafe_hash=True)
class Popularity(Baseline):
    """Baseline without towers: items by training clicks, one list for every query."""

    kind: str = "popularity"
    label: ClassVar[str] = "popularity"
    shared: ClassVar[bool] = True

    def fit(self, clicks: Clicks, numbers: Any, seed: int) -> Scores:
        """Clicks of each item, the same scores for every query."""
        counts = clicks.sum(axis=0).astype(np.float32)
        return lambda history: np.repeat(counts[None], history.shape[0], axis=0)


@baseline
@dataclass(unsafe_hash=True)
class BuyAgain(Baseline):
    """Baseline without towers: the user's items, most often first, then popularity.

      s(i) = h_i + c_i / (1 + max_j c_j)

    h_i counts the clicks of the query's history on item i, c_i those of all users.

    References:
      Li, Jullien, Ariannezhad & de Rijke, A Next Basket Recommendation Reality Check,
      TOIS 2023: its method G-P-TopFreq.
    """

    kind: str = "buy_again"
    label: ClassVar[str] = "buy again"
    again: ClassVar[bool] = True

    def fit(self, clicks: Clicks, numbers: Any, seed: int) -> Scores:
        """The items of the history by their number of clicks, then popularity."""
        counts = clicks.sum(axis=0)
        below_one = (counts / (1 + counts.max(initial=0))).astype(np.float32)
        return lambda history: history.toarray().astype(np.float32) + below_one
