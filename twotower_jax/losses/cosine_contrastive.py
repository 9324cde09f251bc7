"""The cosine contrastive loss of SimpleX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from twotower_jax.losses.loss import LOSSES, CosineLoss
from twotower_jax.losses.row_weights import weighted_mean, weights_of
from twotower_jax.registry import Lazy, key

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
else:
    jax, jnp = Lazy("jax"), Lazy("jax.numpy")


@LOSSES.add
@dataclass(unsafe_hash=True)
class Ccl(CosineLoss):
    """Cosine contrastive loss (SimpleX): negatives are pushed down above the margin."""

    name: str = "ccl"
    pointwise: ClassVar[bool] = True
    margin: float = key(
        0.8,
        above=0,
        doc="cosine above which a negative is pushed",
        example="loss=ccl loss.margin=0.5",
    )
    negative_weight: float = key(
        150.0,
        above=0,
        neutral=1.0,
        doc="factor of the mean over negatives",
        example="loss=ccl loss.negative_weight=100",
    )

    def of_rows(
        self, positive: jax.Array, negatives: jax.Array, weight: jax.Array
    ) -> jax.Array:
        """Loss of each row, as in `Loss.of_rows`."""
        return ccl(
            positive,
            negatives,
            weight,
            margin=self.margin,
            negative_weight=self.negative_weight,
            temperature=self.temperature,
        )


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

    Args:
      positive: [batch] float, logit of the positive.
      negatives: [batch, columns] float, finite logits of the negatives.
      weight: [batch, columns] float, weight of each negative in the mean; None is 1.
      margin: Cosine m above which a negative is pushed down.
      negative_weight: Factor c of the mean.
      temperature: Temperature of the logits.

    Returns:
      [batch] float32 loss, unreduced. A row without negatives has the first term alone.

    Raises:
      ValueError: The shapes do not match.

    Examples:
      >>> loss = ccl(jnp.array([0.8]), jnp.array([[0.9, 0.1]]), margin=0.5)
      >>> round(float(loss[0]), 4)  # 0.2 + (0.4 + 0) / 2
      0.4

    References:
      Mao et al., SimpleX: A Simple and Strong Baseline for Collaborative Filtering,
      CIKM 2021, eq. 5.
    """
    weight = weights_of(positive, negatives, weight)
    pushed = weighted_mean(jnp.maximum(temperature * negatives - margin, 0), weight)
    pushed = negative_weight * pushed
    return jnp.maximum(1 - temperature * positive, 0) + pushed
