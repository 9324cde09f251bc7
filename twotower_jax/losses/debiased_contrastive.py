"""Contrastive losses with debiased negatives, which may be weighed by their score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twotower_jax.losses.loss import LOSSES, CosineLoss, temperature_key
from twotower_jax.losses.row_weights import weights_of
from twotower_jax.registry import Lazy, key

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
else:
    jax, jnp = Lazy("jax"), Lazy("jax.numpy")


@LOSSES.add
@dataclass(unsafe_hash=True)
class Dcl(CosineLoss):
    """Debiased contrastive loss: a share of the negatives is taken to be positives."""

    name: str = "dcl"
    beta = 0.0  # a key of hcl alone
    temperature: float = temperature_key(0.14)
    tau_plus: float = key(
        0.01,
        low=0,
        high=0.99,
        doc="share of the negatives that is taken to be positives",
        example="loss=dcl loss.tau_plus=0.05",
    )

    def of_rows(
        self, positive: jax.Array, negatives: jax.Array, weight: jax.Array
    ) -> jax.Array:
        """Loss of each row, as in `Loss.of_rows`."""
        return debiased(
            positive,
            negatives,
            weight,
            tau_plus=self.tau_plus,
            beta=self.beta,
            temperature=self.temperature,
        )


@LOSSES.add
@dataclass(unsafe_hash=True)
class Hcl(Dcl):
    """Contrastive loss with hard negatives, weighed by their score and debiased."""

    name: str = "hcl"
    beta: float = key(
        0.5,
        low=0,
        doc="concentration on hard negatives; 0: dcl",
        example="loss=hcl loss.beta=1",
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

    A share t of the negatives is taken to be positives, whose part is subtracted. S is
    the sum of e^{n_j} in which the negatives are weighed by e^(b n_j), so that b = 0 is
    sum_j w_j e^{n_j}. The lower bound is the least sum of cosines. Gradients flow
    through the weights, as in the published code.

    Args:
      positive: [batch] float, logit of the positive.
      negatives: [batch, columns] float, finite logits of the negatives.
      weight: [batch, columns] float, weight of each negative; None is 1.
      tau_plus: Share t of false negatives, in [0, 1).
      beta: Concentration b on hard negatives, at least 0.
      temperature: Temperature T of the logits.

    Returns:
      [batch] float32 loss, unreduced. A row without negatives has loss 0.

    Raises:
      ValueError: The shapes do not match.

    Examples:
      >>> at = jnp.zeros(1), jnp.zeros((1, 4))
      >>> loss = debiased(*at, tau_plus=0.0, temperature=1.0)
      >>> round(float(loss[0]), 4)  # log 5: the softmax
      1.6094
      >>> loss = debiased(*at, tau_plus=0.5, temperature=1.0)
      >>> round(float(loss[0]), 4)  # N_g = (4 - 2) / 0.5
      1.6094

    References:
      Chuang et al., Debiased Contrastive Learning, NeurIPS 2020, eq. 8 (b = 0);
      Robinson et al., Contrastive Learning with Hard Negative Samples, ICLR 2021.
    """
    weight = weights_of(positive, negatives, weight)
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
