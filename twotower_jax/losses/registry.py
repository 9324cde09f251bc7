"""The choices of ``loss.name``, with the numbers and the form that they share."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from twotower_jax.losses.cosine import ccl, psl
from twotower_jax.losses.debiased import debiased
from twotower_jax.losses.rowwise import bce, gbce, hinge, logistic, sampled_softmax
from twotower_jax.registry import Registry


class LossNumbers(NamedTuple):
    """Numbers of the losses; scalars or traced arrays.

    Attributes:
      temperature: Temperature of the logits, for margins in units of the cosine.
      ratio: Negatives per positive in the pointwise losses; 0 counts each negative
        once.
      margin: Margin of hinge and ccl, in units of the score before the temperature.
      calibration: Calibration t of gbce.
      num_items: Size of the catalogue, for the sampling rate of gbce.
      tau_plus: Share of false negatives of dcl and hcl.
      beta: Concentration of hcl on hard negatives.
      negative_weight: Factor of the negative term of a softmax and of ccl; None for 1.
      offset: Constant that bce and gbce add to all logits; None for 0.
    """

    temperature: jax.Array | float
    ratio: jax.Array | float = 0.0
    margin: jax.Array | float = 0.2
    calibration: jax.Array | float = 0.75
    num_items: jax.Array | float = 0.0
    tau_plus: jax.Array | float = 0.0
    beta: jax.Array | float = 0.0
    negative_weight: jax.Array | float | None = None
    offset: jax.Array | float | None = None


class LossForm(NamedTuple):
    """Static choices within a loss: another form is another program.

    Attributes:
      decoupled: Whether the positive is left out of the sum of a softmax or psl.
      activation: Name in `ACTIVATIONS`, the surrogate of psl.
    """

    decoupled: bool = False
    activation: str = "tanh"


# (positive [b], negatives [b, n], weight [b, n], numbers, form) -> [b] loss per row.
RowLoss = Callable[[jax.Array, jax.Array, jax.Array, LossNumbers, LossForm], jax.Array]


class Loss(NamedTuple):
    """A choice of ``loss.name``.

    Attributes:
      of_rows: Function of positive, negatives, weight, numbers and form.
      whole_catalogue: Whether the negatives are every item instead of the draws.
      softmax: Whether ``of_rows`` is the log of a sum of e^logit, which has a pass
        written by hand.
      surrogate: Whether these logits are those of `psl` in place of the scores.
      pointwise: Whether a constant that is added to all scores changes the loss.
      importance: Whether log q weighs the negatives by one over their expected counts;
        otherwise it is subtracted from their logits.
      at_k: Whether rows are weighed by how far their positives are above the user's
        k-th best score.
    """

    of_rows: RowLoss
    whole_catalogue: bool = False
    softmax: bool = False
    surrogate: bool = False
    pointwise: bool = False
    importance: bool = False
    at_k: bool = False


def _softmax(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array,
    numbers: LossNumbers,
    form: LossForm,
) -> jax.Array:
    return sampled_softmax(
        positive,
        negatives,
        weight,
        decoupled=form.decoupled,
        negative_weight=numbers.negative_weight,
    )


def _with_offset(
    positive: jax.Array, negatives: jax.Array, numbers: LossNumbers
) -> tuple[jax.Array, jax.Array]:
    """Return the logits of positives and negatives plus the constant.

    Scores are near 0 at the start, and n negatives of a positive want log(1 / n).
    Without the constant the vectors of all items learn it first, in one direction.

    References:
      Lin et al., Focal loss for dense object detection, ICCV 2017, section 3.3 (a prior
      of the rare class as the start of a bias).
    """
    if numbers.offset is None:
        return positive, negatives
    return positive + numbers.offset, negatives + numbers.offset


LOSSES: Registry[Loss] = Registry(
    "loss.name",
    {
        "sampled_softmax": Loss(_softmax, softmax=True),
        "full_softmax": Loss(_softmax, whole_catalogue=True, softmax=True),
        "softmax_at_k": Loss(_softmax, softmax=True, at_k=True),
        "bce": Loss(
            lambda p, n, w, numbers, _: bce(
                *_with_offset(p, n, numbers), w, ratio=numbers.ratio
            ),
            pointwise=True,
        ),
        "gbce": Loss(
            lambda p, n, w, numbers, _: gbce(
                *_with_offset(p, n, numbers),
                w,
                num_items=numbers.num_items,
                calibration=numbers.calibration,
                ratio=numbers.ratio,
            ),
            pointwise=True,
        ),
        "hinge": Loss(
            lambda p, n, w, numbers, _: hinge(
                p, n, w, margin=numbers.margin, temperature=numbers.temperature
            )
        ),
        "logistic": Loss(lambda p, n, w, *_: logistic(p, n, w)),
        "psl": Loss(
            lambda p, n, w, numbers, form: psl(
                p,
                n,
                w,
                temperature=numbers.temperature,
                activation=form.activation,
                decoupled=form.decoupled,
            ),
            softmax=True,
            importance=True,
            surrogate=True,
        ),
        "ccl": Loss(
            lambda p, n, w, numbers, _: ccl(
                p,
                n,
                w,
                margin=numbers.margin,
                negative_weight=numbers.negative_weight,
                temperature=numbers.temperature,
            ),
            pointwise=True,
            importance=True,
        ),
        "dcl": Loss(
            lambda p, n, w, numbers, _: debiased(
                p, n, w, tau_plus=numbers.tau_plus, temperature=numbers.temperature
            ),
            importance=True,
        ),
        "hcl": Loss(
            lambda p, n, w, numbers, _: debiased(
                p,
                n,
                w,
                tau_plus=numbers.tau_plus,
                beta=numbers.beta,
                temperature=numbers.temperature,
            ),
            importance=True,
        ),
    },
)
