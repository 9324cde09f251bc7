"""Softmax whose rows are weighed by the rank of their positive (SL@K)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from twotower_jax.errors import InputError
from twotower_jax.losses.loss import LOSSES, SampledLoss, check_cosines
from twotower_jax.losses.softmax import Softmax
from twotower_jax.registry import check_keys, key


@dataclass(unsafe_hash=True)
class AtKConfig:
    """Weights of rows by the user's k-th best score, and the estimate of it."""

    k: int = key(
        20,
        low=1,
        doc="rank of the score to which the positive is compared",
        example="loss=softmax_at_k loss.at_k.k=50",
    )
    temperature: float = key(
        2.5,
        above=0,
        doc="temperature of the weights, in units of the cosine",
        example="loss=softmax_at_k loss.at_k.temperature=4",
    )
    sampled: int = key(
        1000,
        low=1,
        doc="items that are sampled for the estimate beside the user's positives; the "
        "whole catalogue where that is smaller",
        example="loss=softmax_at_k loss.at_k.sampled=5000",
    )
    every: float = key(
        0.1,
        above=0,
        training=True,
        doc="share of the training between two estimates, and before the first one; "
        "until then the score is 0",
        example="loss=softmax_at_k loss.at_k.every=0.025",
    )

    def __post_init__(self) -> None:
        """Check each value, then that the sample has a k-th score."""
        check_keys(self, "loss.at_k")
        if self.k > self.sampled:
            raise InputError(
                f"loss.at_k.k={self.k} is larger than the number of items of which the "
                f"k-th best score is estimated, loss.at_k.sampled={self.sampled}; "
                "raise loss.at_k.sampled, or lower loss.at_k.k"
            )


@LOSSES.add
@dataclass(unsafe_hash=True)
class SoftmaxAtK(Softmax, SampledLoss):
    """Softmax whose rows are weighed by how far the positive is above the k-th best.

    References:
      Yang et al., SL@K: the Softmax Loss for top-K recommendation, KDD 2025.
    """

    name: str = "softmax_at_k"
    decoupled: bool = key(
        True,
        doc="leave the positive out of the sum over the negatives",
        example="loss=softmax_at_k loss.decoupled=false",
    )
    at_k: AtKConfig = field(default_factory=AtKConfig)
    weighs_rows: ClassVar[bool] = True

    def check(self, config: Any) -> None:
        """Refuse the best negatives alone."""
        super().check(config)
        if config.negatives.num_hard_negatives:
            raise InputError(
                f"negatives.num_hard_negatives={config.negatives.num_hard_negatives} "
                "cannot work with loss.name=softmax_at_k, which weighs the rows by "
                "their scores; set negatives.num_hard_negatives=0, or "
                "loss=sampled_softmax"
            )

    def check_towers(self, towers: Any) -> None:
        """Refuse scores without bounds."""
        check_cosines(f"loss.name={self.name}", towers)
