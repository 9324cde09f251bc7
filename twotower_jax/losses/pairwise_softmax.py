"""Pairwise softmax with another surrogate than e^d."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twotower_jax.errors import unknown
from twotower_jax.losses.loss import LOSSES, CosineLoss, SoftmaxForm, temperature_key
from twotower_jax.losses.row_weights import log_sum, weights_of
from twotower_jax.registry import Lazy, key

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
else:
    jax, jnp = Lazy("jax"), Lazy("jax.numpy")


ACTIVATIONS = ("tanh", "atan", "relu")


@LOSSES.add
@dataclass(unsafe_hash=True)
class Psl(CosineLoss):
    """Pairwise softmax with another surrogate: sums sigma((cos- - cos+) / 2)^(1/T)."""

    name: str = "psl"
    temperature: float = temperature_key(0.05)
    activation: str = key(
        "tanh",
        choices=ACTIVATIONS,
        doc="surrogate sigma of a lead of a negative",
        example="loss=psl loss.activation=relu",
    )
    decoupled: bool = key(
        True,
        doc="leave the positive out of the sum over the negatives",
        example="loss=psl loss.decoupled=false",
    )

    def of_rows(
        self, positive: jax.Array, negatives: jax.Array, weight: jax.Array
    ) -> jax.Array:
        """Loss of each row, as in `Loss.of_rows`."""
        return psl(
            positive,
            negatives,
            weight,
            temperature=self.temperature,
            activation=self.activation,
            decoupled=self.decoupled,
        )

    def softmax_form(self) -> SoftmaxForm:
        """Form of the pass written by hand."""
        return SoftmaxForm(self.decoupled, surrogate=self.activation)


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
    at twice the temperature. Halves of differences of cosines lie in [-1, 1].

    Args:
      positive: [batch] float, logit of the positive.
      negatives: [batch, columns] float, finite logits of the negatives.
      weight: [batch, columns] float, weight of each negative; None is 1.
      temperature: Temperature T of the logits.
      activation: Name in `ACTIVATIONS`.
      decoupled: Whether the positive is left out of the sum, where it would add
        sigma(0)^(1/T) = 1.

    Returns:
      [batch] float32 loss, unreduced. A row whose sum is empty or 0 has loss 0.

    Raises:
      ValueError: The shapes do not match.
      InputError: The activation is unknown.

    Examples:
      >>> at = jnp.array([0.9]) / 0.1, jnp.array([[0.9, -0.1]]) / 0.1
      >>> loss = psl(*at, temperature=0.1, activation="relu")
      >>> round(float(loss[0]), 4)  # log (1 + (1 - 0.5)^10)
      0.001

    References:
      Yang et al., PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective
      for Recommendation, NeurIPS 2024 (halves and no positive: its published code).
    """
    weight = weights_of(positive, negatives, weight)
    logits = psl_logits(activation, positive, negatives, temperature)
    logits += jnp.log(weight)
    if not decoupled:
        logits = jnp.concatenate([jnp.zeros_like(positive)[:, None], logits], axis=1)
    return log_sum(logits)[0]


def psl_logits(
    activation: str,
    positive: jax.Array,
    negatives: jax.Array,
    temperature: jax.Array | float,
) -> jax.Array:
    """Return log sigma(d_j) / T, as in `psl`; that of the positive itself is 0.

    Raises:
      InputError: The activation is unknown.
    """
    half = temperature * (negatives - positive[:, None]) / 2
    return _log_surrogate(activation, half) / temperature


def _log_surrogate(activation: str, d: jax.Array) -> jax.Array:
    """Return log sigma(d); -inf with gradient 0 where sigma(d) is not above 0."""
    if activation == "tanh":
        value = 1 + jnp.tanh(d)
    elif activation == "atan":
        value = 1 + _arctan(d)
    elif activation == "relu":
        value = 1 + d
    else:
        raise unknown("loss.activation", activation, ACTIVATIONS)
    above = value > 0
    return jnp.where(above, jnp.log(jnp.where(above, value, 1)), -jnp.inf)


def _arctan(d: jax.Array) -> jax.Array:
    """Return arctan(d), by the half of the angle.

    jaxlib 0.10.2 computes wrong numbers for `jnp.arctan` on some CPUs, and with vectors
    of 512 bits on all that have them: github.com/jax-ml/jax/issues/39352.
    """
    return 2 * jnp.arctan2(d, 1 + jnp.sqrt(1 + d * d))
