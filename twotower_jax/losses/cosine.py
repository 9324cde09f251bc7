"""Losses of cosines: SimpleX, debiased contrastive losses, and pairwise softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from twotower_jax.errors import unknown
from twotower_jax.lazy import jax, jnp
from twotower_jax.losses import loss as base
from twotower_jax.losses.loss import LOSSES
from twotower_jax.registry import key


def ccl(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    margin: jax.Array | float,
    negative_weight: jax.Array | float = 1.0,
    temperature: jax.Array | float = 1.0,
) -> jax.Array:
    """Return max(0, 1 - cos_p) + c mean_j max(0, cos_j - m) of every row.

    c is the negative weight, m the margin, and cosines are finite logits times the
    temperature, shaped as in `sampled_softmax`. A row without negatives has the first
    term alone.

    Examples:
      >>> loss = ccl(jnp.array([0.8]), jnp.array([[0.9, 0.1]]), margin=0.5)
      >>> round(float(loss[0]), 4)  # 0.2 + (0.4 + 0) / 2
      0.4

    References:
      Mao et al., SimpleX: A Simple and Strong Baseline for Collaborative Filtering,
      CIKM 2021, eq. 5.
    """
    weight = base.weights_of(positive, negatives, weight)
    pushed = base.weighted_mean(
        jnp.maximum(temperature * negatives - margin, 0), weight
    )
    pushed = negative_weight * pushed
    return jnp.maximum(1 - temperature * positive, 0) + pushed


@LOSSES.add
@dataclass(unsafe_hash=True)
class Ccl(base.CosineLoss):
    """Cosine contrastive loss (SimpleX): negatives are pushed down above the margin."""

    formula = staticmethod(ccl)
    name: str = "ccl"
    pointwise: ClassVar[bool] = True
    margin: float = key(0.8, above=0, doc="cosine above which a negative is pushed")
    negative_weight: float = key(
        150.0, above=0, neutral=1.0, doc="factor of the mean over negatives"
    )


def debiased(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    tau_plus: jax.Array | float,
    beta: jax.Array | float = 0.0,
    temperature: jax.Array | float,
) -> jax.Array:
    """Return -log [ e^p / (e^p + N_g) ] of every row, with N = sum_j w_j and

      N_g = max( (S - N t e^p) / (1 - t), N e^(-1/T) ),
      S = sum_j w_j e^((b + 1) n_j) / [ sum_j w_j e^(b n_j) / N ].

    A share t of the negatives is taken to be positives, whose part is subtracted. S
    weighs the negatives by e^(b n_j); the lower bound is the least sum of cosines, of
    which finite logits at the temperature T are made. Gradients flow through the
    weights, as in the published code. Shapes are those of `sampled_softmax`, and a row
    without negatives has loss 0.

    Args:
      tau_plus: Share t of false negatives, in [0, 1).
      beta: Concentration b on hard negatives, at least 0.

    Examples:
      >>> at = jnp.zeros(1), jnp.zeros((1, 4))
      >>> loss = debiased(*at, tau_plus=0.5, temperature=1.0)
      >>> round(float(loss[0]), 4)  # N_g = (4 - 2) / 0.5
      1.6094

    References:
      Chuang et al., Debiased Contrastive Learning, NeurIPS 2020, eq. 8 (b = 0);
      Robinson et al., Contrastive Learning with Hard Negative Samples, ICLR 2021.
    """
    weight = base.weights_of(positive, negatives, weight)
    number = weight.sum(axis=1)
    filled = number > 0
    number = jnp.where(filled, number, 1)
    # A row without negatives has weights 1, so that no log of 0 is in its gradient.
    log_weight = jnp.log(jnp.where(filled[:, None], weight, 1))
    hard = jax.nn.logsumexp(log_weight + (beta + 1) * negatives, axis=1)
    mean = jax.nn.logsumexp(log_weight + beta * negatives, axis=1) - jnp.log(number)
    log_s = hard - mean
    # Sums in units of e^top, which is finite at any temperature.
    top = jax.lax.stop_gradient(jnp.maximum(positive, log_s))
    own = jnp.exp(positive - top)
    rest = (jnp.exp(log_s - top) - number * tau_plus * own) / (1 - tau_plus)
    rest = jnp.maximum(rest, number * jnp.exp(-1 / temperature - top))
    return jnp.where(filled, top + jnp.log(own + rest) - positive, 0)


@LOSSES.add
@dataclass(unsafe_hash=True)
class Dcl(base.CosineLoss):
    """Debiased contrastive loss: a share of the negatives is taken to be positives."""

    formula = staticmethod(debiased)
    name: str = "dcl"
    beta = 0.0  # a key of hcl alone
    temperature: float = base.temperature_key(0.14)
    tau_plus: float = key(
        0.01,
        low=0,
        high=0.99,
        doc="share of the negatives that is taken to be positives",
    )


@LOSSES.add
@dataclass(unsafe_hash=True)
class Hcl(Dcl):
    """Contrastive loss with hard negatives, weighed by their score and debiased."""

    name: str = "hcl"
    beta: float = key(0.5, low=0, doc="concentration on hard negatives; 0: dcl")


ACTIVATIONS = ("tanh", "atan", "relu")


def psl(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    temperature: jax.Array | float,
    activation: str = "tanh",
    decoupled: bool = True,
) -> jax.Array:
    """Return log sum_j w_j sigma(d_j)^(1/T) of every row, d_j = (cos_j - cos_p) / 2.

    sigma(d) is 1 + tanh(d), 1 + arctan(d) or relu(1 + d). The softmax has e^d instead,
    at twice the temperature T. Halves of differences of cosines lie in [-1, 1]. Logits
    are finite, and shapes those of `sampled_softmax`. If decoupled, the positive is
    left out of the sum, where it would add sigma(0)^(1/T) = 1. A row whose sum is empty
    or 0 has loss 0.

    Examples:
      >>> at = jnp.array([0.9]) / 0.1, jnp.array([[0.9, -0.1]]) / 0.1
      >>> loss = psl(*at, temperature=0.1, activation="relu")
      >>> round(float(loss[0]), 4)  # log (1 + (1 - 0.5)^10)
      0.001

    References:
      Yang et al., PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective
      for Recommendation, NeurIPS 2024 (halves and no positive: its published code).
    """
    weight = base.weights_of(positive, negatives, weight)
    logits = psl_logits(activation, positive, negatives, temperature)
    logits += jnp.log(weight)
    if not decoupled:
        logits = jnp.concatenate([jnp.zeros_like(positive)[:, None], logits], axis=1)
    return base.log_sum(logits)[0]


@LOSSES.add
@dataclass(unsafe_hash=True)
class Psl(base.CosineLoss):
    """Pairwise softmax with another surrogate: sums sigma((cos- - cos+) / 2)^(1/T)."""

    formula = staticmethod(psl)
    softmax_pass: ClassVar[bool] = True
    name: str = "psl"
    temperature: float = base.temperature_key(0.05)
    activation: str = key(
        "tanh",
        choices=ACTIVATIONS,
        doc="surrogate sigma of a lead of a negative",
        example="relu",
    )
    decoupled: bool = key(
        True, doc="leave the positive out of the sum over the negatives"
    )


def psl_logits(
    activation: str,
    positive: jax.Array,
    negatives: jax.Array,
    temperature: jax.Array | float,
) -> jax.Array:
    """Return log sigma(d_j) / T, as in `psl`; -inf with gradient 0 for sigma <= 0."""
    d = temperature * (negatives - positive[:, None]) / 2
    if activation == "tanh":
        value = 1 + jnp.tanh(d)
    elif activation == "atan":
        value = 1 + _arctan(d)
    elif activation == "relu":
        value = 1 + d
    else:
        raise unknown("loss.activation", activation, ACTIVATIONS)
    above = value > 0
    logs = jnp.where(above, jnp.log(jnp.where(above, value, 1)), -jnp.inf)
    return logs / temperature


def _arctan(d: jax.Array) -> jax.Array:
    """Return arctan(d), by the half of the angle.

    jaxlib computes wrong numbers for `jnp.arctan` on CPUs with vectors of 512 bits:
    github.com/jax-ml/jax/issues/39352.
    """
    return 2 * jnp.arctan2(d, 1 + jnp.sqrt(1 + d * d))
