"""Laws of easy draws: the choices of ``negatives/easy=``, a weight for each item.

An easy draw is item i with the probability w_i / sum_j w_j (`easy.Proposal`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from twotower_jax.lazy import np
from twotower_jax.negatives.hard import hard_negatives
from twotower_jax.registry import Choice, Choices, key, tag

EASY: Choices[Sampler] = Choices("negatives.easy.sampler")


def explicit_slots(values: Mapping[str, Any]) -> int:
    """Number of easy and hard draws beside the batch and the bank, of all values."""
    easy, hard = values["negatives.easy.num"], values["negatives.hard.num"]
    # In the shared layout without hard negatives, hard slots do not add easy draws.
    adds = hard_negatives(values) or values["negatives.layout"] == "per_row"
    return easy + hard if adds else easy


def has_slots(values: Mapping[str, Any]) -> bool:
    """Whether a step makes easy draws, be it as candidates of hard ones."""
    return explicit_slots(values) > 0


@dataclass(unsafe_hash=True)
class Sampler(Choice):
    """Base of the laws of easy draws; a subclass defines `weights`."""

    choices: ClassVar[Choices[Sampler]] = EASY
    in_use: ClassVar = staticmethod(has_slots)  # whether its keys have an effect

    sampler: str = ""
    num: int = key(
        0,
        low=0,
        decides=True,
        doc="easy draws: per batch where layout is shared, else per row; 0: none",
        example="256",
    )

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """Weights [num_items] above 0, from counts [num_items] of positives."""
        raise NotImplementedError


@EASY.add
@dataclass(unsafe_hash=True)
class Uniform(Sampler):
    """Every item alike."""

    sampler: str = tag("uniform", words="negatives=uniform")

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """Ones."""
        return np.ones(len(counts))


@EASY.add
@dataclass(unsafe_hash=True)
class Popularity(Sampler):
    """Powers of smoothed clicks: (c_i + s)^alpha.

    alpha = 0 is uniform, 0.75 word2vec's noise distribution and 1 the unigram. The
    smoothing s > 0 lets an item without clicks be drawn.

    References:
      Mikolov et al., Distributed Representations of Words and Phrases and their
      Compositionality, NIPS 2013, section 2.2.
    """

    sampler: str = tag("popularity", words="negatives=popularity")
    alpha: float = key(
        0.75, low=0, high=2, doc="q_i is proportional to (clicks + smoothing)^alpha"
    )
    smoothing: float = key(1.0, above=0, doc="added to the clicks of each item")

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """(c_i + s)^alpha."""
        return (np.asarray(counts, np.float64) + self.smoothing) ** self.alpha


@EASY.add
@dataclass(unsafe_hash=True)
class LogUniform(Sampler):
    """Zipf-like weights of ranks: log((k + 2) / (k + 1)) for the item of rank k.

    The most clicked item has rank 0; equal counts rank by lower item. The sum is
    log(num_items + 1).
    """

    sampler: str = tag("log_uniform", words="negatives=log_uniform")

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """Log((k + 2) / (k + 1))."""
        rank = np.empty(len(counts))
        rank[np.argsort(-np.asarray(counts), kind="stable")] = np.arange(len(counts))
        return np.log1p(1 / (rank + 1))
