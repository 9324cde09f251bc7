"""Binary cross-entropy on each pair, plain or corrected for overconfidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from twotower_jax.lazy import jax, jnp
from twotower_jax.losses import loss as base
from twotower_jax.losses.loss import LOSSES
from twotower_jax.registry import key


@dataclass(unsafe_hash=True)
class Pointwise(base.Tempered, base.SampledLoss):
    """Base of the losses of single pairs."""

    pointwise: ClassVar[bool] = True
    ratio: float | None = key(
        None,
        above=0,
        doc="sum of the weights of the negatives per positive; null: 1 each",
        example="1",
    )
    offset: float = key(
        0.0,
        low=-50,
        high=50,
        neutral=0.0,
        doc="constant added to all logits of training; minus the log of the "
        "number of negatives is their share, without which many of them learn slowly",
        example="loss=bce loss.offset=-5.5",
    )

    def odds(self, drawn: int, num_items: int) -> base.Odds | None:
        """Balance of a row; None where the offset holds it."""
        number = round(self.ratio or drawn)
        return None if self.offset or not number else base.Odds(number, 1 / number)

    def of_rows(
        self, positive: jax.Array, negatives: jax.Array, weight: jax.Array
    ) -> jax.Array:
        """Loss of each row, whose logits have the constant added.

        Scores are near 0 at the start, and n negatives of a positive want log(1 / n):
        without the constant the vectors of all items learn it first, in one direction
        (Lin et al., Focal loss for dense object detection, ICCV 2017, section 3.3).
        """
        if not isinstance(self.offset, float) or self.offset:
            positive, negatives = positive + self.offset, negatives + self.offset
        return super().of_rows(positive, negatives, weight)


def bce(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    ratio: jax.Array | float | None = None,
) -> jax.Array:
    """Return -log sigmoid(p) - c sum_j w_j log sigmoid(-n_j) of every row.

    With ``ratio`` r > 0 the weights are scaled to sum to r. In expectation this is the
    loss of r drawn negatives per positive (1:2, 1:3). Without it the factor c is 1.
    Logits are finite, and shapes those of `sampled_softmax`.

    Examples:
      >>> loss = bce(jnp.zeros(1), jnp.zeros((1, 3)), ratio=2.0)
      >>> round(float(loss[0]), 4)  # 3 log 2
      2.0794

    References:
      He et al., Neural collaborative filtering, WWW 2017, eq. 7 (drawn negatives).
    """
    weight = base.weights_of(positive, negatives, weight)
    return jax.nn.softplus(-positive) + base.negative_part(negatives, weight, ratio)


@LOSSES.add
@dataclass(unsafe_hash=True)
class Bce(Pointwise):
    """Binary cross-entropy on each pair: positives and negatives."""

    formula = staticmethod(bce)
    name: str = "bce"
    ratio: float | None = key(
        3.0,
        above=0,
        doc="sum of the weights of the negatives per positive; null: 1 each",
    )


def gbce(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    num_items: jax.Array | float,
    calibration: jax.Array | float = 0.75,
    ratio: jax.Array | float | None = None,
) -> jax.Array:
    """Return -beta log sigmoid(p) - c sum_j w_j log sigmoid(-n_j) of every row.

    beta = a (t (1 - 1/a) + 1/a) = t (a - 1) + 1, with the sampling rate
    a = c sum_j w_j / (num_items - 1): the weight that the row's negatives have in the
    loss, over the number of other items. With uniform negatives and a share P of
    clicks, the optimum has the odds sigmoid / (1 - sigmoid) = beta P / (a (1 - P)).
    The calibration t = 0 is bce; t = 1 gives sigmoid = P, whatever the number of draws
    and the ratio. ``num_items`` is the size of the catalogue, the rest is as of `bce`.

    Examples:
      >>> at = jnp.zeros(1), jnp.zeros((1, 3))
      >>> loss = gbce(*at, num_items=7, calibration=1.0)  # a = beta = 1/2
      >>> round(float(loss[0]), 4)  # 3.5 log 2
      2.426

    References:
      Petrov & Macdonald, gSASRec: reducing overconfidence, RecSys 2023 (gBCE).
    """
    weight = base.weights_of(positive, negatives, weight)
    drawn = weight.sum(axis=1)
    each = 0.0 if ratio is None else ratio
    counted = jnp.where(each > 0, jnp.where(drawn > 0, each, 0), drawn)
    power = calibration * (counted / (num_items - 1) - 1) + 1
    return power * jax.nn.softplus(-positive) + base.negative_part(
        negatives, weight, ratio
    )


@LOSSES.add
@dataclass(unsafe_hash=True)
class Gbce(Pointwise):
    """Binary cross-entropy whose positive term corrects overconfidence (gSASRec)."""

    formula = staticmethod(gbce)
    name: str = "gbce"
    calibration: float = key(
        0.75, low=0, high=1, doc="t, from 0 (bce) to 1 (calibrated)"
    )

    def odds(self, drawn: int, num_items: int) -> base.Odds | None:
        """Balance of a row, whose positive weighs less than 1."""
        odds = super().odds(drawn, num_items)
        if odds is None:
            return None
        rate = odds.negatives / max(num_items - 1, 1)
        return odds._replace(share=odds.share * (self.calibration * (rate - 1) + 1))
