"""Losses of a positive and one negative: the triplet hinge and logistic (BPR)."""

from __future__ import annotations

from dataclasses import dataclass

from twotower_jax.lazy import jax, jnp
from twotower_jax.losses import loss as base
from twotower_jax.losses.loss import LOSSES
from twotower_jax.registry import key


def logistic(
    positive: jax.Array, negatives: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Return the mean over negatives of log(1 + e^{-(p - n)}) of every row.

    This is the BPR loss, also called triplet-logistic. Its scale is 1 / temperature,
    which is part of the finite logits, shaped as in `sampled_softmax`. A row without
    negatives has loss 0.

    Examples:
      >>> loss = logistic(jnp.zeros(1), jnp.zeros((1, 3)))
      >>> round(float(loss[0]), 4)  # log 2
      0.6931

    References:
      Rendle et al., BPR: Bayesian personalized ranking from implicit feedback, UAI
      2009.
    """
    weight = base.weights_of(positive, negatives, weight)
    return base.weighted_mean(jax.nn.softplus(negatives - positive[:, None]), weight)


@LOSSES.add
@dataclass(unsafe_hash=True)
class Logistic(base.Tempered, base.SampledLoss):
    """Triplet logistic (BPR): log(1 + exp(-(cos+ - cos-) / temperature))."""

    formula = staticmethod(logistic)
    name: str = "logistic"


def hinge(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    margin: jax.Array | float,
    temperature: jax.Array | float = 1.0,
) -> jax.Array:
    """Return the mean over negatives of max(0, margin - (s_p - s_n)) of every row.

    Scores s are finite logits times the temperature (cosines), so that the margin does
    not depend on it. Shapes are those of `sampled_softmax`, and a row without negatives
    has loss 0.

    Examples:
      >>> loss = hinge(jnp.array([0.5]), jnp.array([[0.4, 0.0]]), margin=0.25)
      >>> round(float(loss[0]), 4)  # (0.15 + 0) / 2
      0.075

    References:
      Huang et al., Embedding-based retrieval in Facebook search, KDD 2020, eq. 2, with
      cosines (D = 1 - cos).
    """
    weight = base.weights_of(positive, negatives, weight)
    ahead = temperature * (positive[:, None] - negatives)
    return base.weighted_mean(jnp.maximum(margin - ahead, 0), weight)


@LOSSES.add
@dataclass(unsafe_hash=True)
class Hinge(base.SampledLoss):
    """The cosine of the positive exceeds that of each negative by the margin."""

    formula = staticmethod(hinge)
    name: str = "hinge"
    temperature: float = base.temperature_key(0.14)
    margin: float = key(
        0.2,
        above=0,
        doc="lead of the positive, in units of the score without temperature",
    )
