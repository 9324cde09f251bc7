"""Contrastive losses whose negatives are corrected for false ones, or weighed by score.

Positive and negatives are logits, cosine over temperature, as in `rowwise`. Weights are
importance weights: draws over the expected count, where that is corrected.
"""

import jax
import jax.numpy as jnp

from twotower_jax.losses.row_weights import weights_of


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
