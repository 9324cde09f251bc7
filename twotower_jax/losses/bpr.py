"""The triplet logistic loss, also called BPR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twotower_jax.losses.loss import LOSSES, SampledLoss, Tempered
from twotower_jax.losses.row_weights import weighted_mean, weights_of
from twotower_jax.registry import Lazy

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
else:
    jax, jnp = Lazy("jax"), Lazy("jax.numpy")


@LOSSES.add
@dataclass(unsafe_hash=True)
class Logistic(Tempered, SampledLoss):
    """Triplet logistic (BPR): log(1 + exp(-(cos+ - cos-) / temperature))."""

    name: str = "logistic"

    def of_rows(
        self, positive: jax.Array, negatives: jax.Array, weight: jax.Array
    ) -> jax.Array:
        """Loss of each row, as in `Loss.of_rows`."""
        return logistic(positive, negatives, weight)


def logistic(
    positive: jax.Array, negatives: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Return the mean over negatives of log(1 + e^{-(p - n)}) of every row.

    This is the BPR loss, also called triplet-logistic. Its scale is 1 / temperature,
    which is part of the logits.

    Args:
      positive: [batch] float, logit of the positive.
      negatives: [batch, columns] float, finite logits of the negatives.
      weight: [batch, columns] float, draws that a negative stands for; None is 1.

    Returns:
      [batch] float32 loss, unreduced. A row without negatives has loss 0.

    Raises:
      ValueError: The shapes do not match.

    Examples:
      >>> loss = logistic(jnp.zeros(1), jnp.zeros((1, 3)))
      >>> round(float(loss[0]), 4)  # log 2
      0.6931

    References:
      Rendle et al., BPR: Bayesian personalized ranking from implicit feedback, UAI
      2009.
    """
    weight = weights_of(positive, negatives, weight)
    return weighted_mean(jax.nn.softplus(negatives - positive[:, None]), weight)
