"""Softmax over the positive and its negatives: drawn ones, or the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from twotower_jax.errors import InputError
from twotower_jax.lazy import jax, jnp
from twotower_jax.losses import loss as base
from twotower_jax.losses.loss import LOSSES
from twotower_jax.losses.terms import TwoWay
from twotower_jax.registry import key, keys_of


def sampled_softmax(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    decoupled: bool = False,
    negative_weight: jax.Array | float = 1.0,
) -> jax.Array:
    """Return -p + c log(e^p + sum_j w_j e^{n_j}) of every row.

    With c = 1 this is -log [ e^p / (e^p + sum_j w_j e^{n_j}) ].

    Args:
      positive: [batch] float, logit p of the positive.
      negatives: [batch, columns] float, logits n_j of the negatives; -inf masks one.
      weight: [batch, columns] float, draws w_j that a negative stands for; None is 1.
      decoupled: Whether e^p is left out of the sum.
      negative_weight: Factor c of the logarithm.

    Returns:
      [batch] float32 loss, unreduced. A row with every negative masked has loss 0 if
      decoupled, and (c - 1) p otherwise.

    Examples:
      >>> import jax.numpy as jnp
      >>> loss = sampled_softmax(jnp.zeros(1), jnp.zeros((1, 3)))
      >>> round(float(loss[0]), 4)  # log 4
      1.3863

    References:
      Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, eq. 4 (both
      corrected); Khrylchenko et al., Correcting the LogQ Correction, RecSys 2025
      (negatives corrected by their expected count, positive not); Yeh et al.,
      Decoupled Contrastive Learning, ECCV 2022 (the positive left out); Wu et al.,
      BSL: Understanding and Improving Softmax Loss for Recommendation, ICDE 2024 (c,
      the ratio of the temperatures of positives and negatives).
    """
    logits = negatives + jnp.log(base.weights_of(positive, negatives, weight))
    if not decoupled:
        logits = jnp.concatenate([positive[:, None], logits], axis=1)
    total, filled = base.log_sum(logits)
    return jnp.where(filled, negative_weight * total - positive, 0)


@dataclass(unsafe_hash=True)
class Softmax(base.Tempered):
    """Base of the softmaxes."""

    formula = staticmethod(sampled_softmax)
    softmax_pass: ClassVar[bool] = True
    decoupled: bool = key(
        False, doc="leave the positive out of the sum over the negatives"
    )
    negative_weight: float = key(
        1.0, above=0, neutral=1.0, doc="factor of the log of the sum"
    )

    def check_towers(self, towers: Any) -> None:
        """Refuse a factor of the sum without cosines."""
        super().check_towers(towers)
        if self.negative_weight != 1:
            base.check_cosines(f"loss.negative_weight={self.negative_weight}", towers)


@LOSSES.add
@dataclass(unsafe_hash=True)
class SampledSoftmax(Softmax, base.SampledLoss):
    """Softmax over the positive and its negatives, with logQ correction."""

    name: str = "sampled_softmax"
    logq: base.LogqConfig = field(default_factory=base.LogqConfig)
    two_way: TwoWay = field(default_factory=TwoWay)


@LOSSES.add
@dataclass(unsafe_hash=True)
class FullSoftmax(Softmax):
    """Softmax over the whole catalogue: the reference where it fits in memory."""

    name: str = "full_softmax"
    whole_catalogue: ClassVar[bool] = True


@keys_of("loss.at_k", words="loss=softmax_at_k")
class AtKConfig:
    """Weights of rows by the user's k-th best score, and the estimate of it."""

    k: int = key(20, low=1, doc="rank of the score to which the positive is compared")
    temperature: float = key(
        2.5, above=0, doc="temperature of the weights, in units of the cosine"
    )
    sampled: int = key(
        1000,
        low=1,
        doc="items that are sampled for the estimate beside the user's positives; the "
        "whole catalogue where that is smaller",
    )
    every: float = key(
        0.1,
        above=0,
        training=True,
        doc="share of the training between two estimates, and before the first one; "
        "until then the score is 0",
    )

    def __post_init__(self) -> None:
        if self.k > self.sampled:
            raise InputError(
                f"loss.at_k.k={self.k} is larger than the number of items of which the "
                f"k-th best score is estimated, loss.at_k.sampled={self.sampled}; "
                "raise loss.at_k.sampled, or lower loss.at_k.k"
            )


@LOSSES.add
@dataclass(unsafe_hash=True)
class SoftmaxAtK(Softmax, base.SampledLoss):
    """Softmax whose rows are weighed by how far the positive is above the k-th best.

    References:
      Yang et al., SL@K: the Softmax Loss for top-K recommendation, KDD 2025.
    """

    name: str = "softmax_at_k"
    decoupled: bool = key(
        True, doc="leave the positive out of the sum over the negatives"
    )
    at_k: AtKConfig = field(default_factory=AtKConfig)
    weighs_rows: ClassVar[bool] = True
    bounded: ClassVar[bool] = True

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
