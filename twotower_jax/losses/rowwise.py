"""Losses of arrays: per-row values, no configuration, no keys.

A row has one positive and any number of negatives. Logits are scores (dot product over
temperature), corrected by the caller. A negative has a weight: the number of draws that
it stands for, 0 for one that is masked. A masked negative has probability and gradient
0 exactly.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class LossNumbers(NamedTuple):
    """Numbers of the losses; scalars or traced arrays.

    Attributes:
      temperature: of the logits, for losses whose margin is in units of the cosine.
      ratio: negatives a positive of the pointwise losses; 0: each negative counts 1.
      margin: of hinge, in units of the score before the temperature.
      calibration: t of gbce.
      num_items: size of the catalogue, for the sampling rate of gbce.
    """

    temperature: jax.Array | float
    ratio: jax.Array | float = 0.0
    margin: jax.Array | float = 0.2
    calibration: jax.Array | float = 0.75
    num_items: jax.Array | float = 0.0


def sampled_softmax(
    positive: jax.Array, negatives: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Return -log [ e^p / (e^p + sum_j w_j e^{n_j}) ] of every row.

    Args:
      positive: [batch] logit of the positive.
      negatives: [batch, columns] logits of the negatives; -inf masks one.
      weight: [batch, columns] draws that a negative stands for; None is 1.

    Returns:
      [batch] float32 loss, unreduced. A row with every negative masked gives 0.

    Raises:
      ValueError: when the shapes do not match.

    Examples:
      >>> import jax.numpy as jnp
      >>> loss = sampled_softmax(jnp.zeros(1), jnp.zeros((1, 3)))
      >>> round(float(loss[0]), 4)  # log 4
      1.3863

    References:
      Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, eq. 4 (both
      corrected); Khrylchenko et al., Correcting the LogQ Correction, RecSys 2025
      (negatives corrected by their expected count, positive not).
    """
    _check_shapes(positive, negatives)
    if weight is not None:
        negatives = negatives + jnp.log(weight)
    logits = jnp.concatenate([positive[:, None], negatives], axis=1)
    return jax.nn.logsumexp(logits, axis=1) - positive


def full_softmax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the cross-entropy over the whole catalogue, the oracle: [batch].

    Args:
      logits: [batch, num_items] scores, uncorrected.
      labels: [batch] int32, the positive's item.
    """
    picked = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - picked


def bce(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    ratio: jax.Array | float = 0.0,
) -> jax.Array:
    """Return -log sigmoid(p) - c sum_j w_j log sigmoid(-n_j) of every row: [batch].

    With ``ratio`` r > 0 the weights are scaled to sum to r, which is in expectation
    what r drawn negatives a positive give (1:2, 1:3); with 0 each counts as it is.

    Args:
      positive, negatives, weight: as in ``sampled_softmax``, negatives finite.
      ratio: negatives a positive, or 0.
    """
    weight = _weight(positive, negatives, weight)
    return jax.nn.softplus(-positive) + _negative_part(negatives, weight, ratio)


def gbce(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    num_items: jax.Array | float,
    calibration: jax.Array | float = 0.75,
    ratio: jax.Array | float = 0.0,
) -> jax.Array:
    """Return -beta log sigmoid(p) - c sum_j w_j log sigmoid(-n_j) of every row.

    beta = a (t (1 - 1/a) + 1/a) with the sampling rate a = k / (num_items - 1) of the
    row's k negatives: t = 0 is bce, t = 1 undoes the overconfidence that sampling
    negatives causes.

    References:
      Petrov & Macdonald, gSASRec: reducing overconfidence, RecSys 2023 (gBCE).
    """
    weight = _weight(positive, negatives, weight)
    rate = jnp.minimum(weight.sum(axis=1) / (num_items - 1), 1)
    power = calibration * (rate - 1) + 1
    return power * jax.nn.softplus(-positive) + _negative_part(negatives, weight, ratio)


def hinge(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    margin: jax.Array | float,
    temperature: jax.Array | float = 1.0,
) -> jax.Array:
    """Return the mean over negatives of max(0, margin - (s_p - s_n)): [batch].

    Scores s are the logits times the temperature (cosines), so that the margin does
    not depend on it; with cosines it is the loss of Huang et al., Embedding-based
    retrieval in Facebook search, KDD 2020, eq. 2 (D = 1 - cos). A row without
    negatives gives 0.
    """
    weight = _weight(positive, negatives, weight)
    ahead = temperature * (positive[:, None] - negatives)
    return _weighted_mean(jnp.maximum(margin - ahead, 0), weight)


def logistic(
    positive: jax.Array, negatives: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Return the mean over negatives of log(1 + e^{-(p - n)}), the BPR loss: [batch].

    The scale of the triplet-logistic loss is 1 / temperature, which the logits carry.
    A row without negatives gives 0.
    """
    weight = _weight(positive, negatives, weight)
    return _weighted_mean(jax.nn.softplus(negatives - positive[:, None]), weight)


def _check_shapes(positive: jax.Array, negatives: jax.Array) -> None:
    if positive.shape != negatives.shape[:1]:
        raise ValueError(
            f"positive must be [batch] and negatives [batch, columns], got "
            f"{positive.shape} and {negatives.shape}"
        )


def _weight(positive, negatives, weight) -> jax.Array:
    _check_shapes(positive, negatives)
    return jnp.ones_like(negatives) if weight is None else weight


def _weighted_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Return sum w v / sum w of each row, 0 where no weight is left."""
    total = weight.sum(axis=1)
    return (weight * values).sum(axis=1) / jnp.where(total > 0, total, 1)


def _negative_part(negatives, weight, ratio) -> jax.Array:
    each = jax.nn.softplus(negatives)
    counted = (weight * each).sum(axis=1)
    return jnp.where(ratio > 0, ratio * _weighted_mean(each, weight), counted)


# Losses of rows by name: (positive, negatives, weight, numbers) -> [batch].
LOSSES: dict[str, Callable[..., jax.Array]] = {
    "sampled_softmax": lambda p, n, w, numbers: sampled_softmax(p, n, w),
    "full_softmax": lambda p, n, w, numbers: sampled_softmax(p, n, w),
    "bce": lambda p, n, w, numbers: bce(p, n, w, ratio=numbers.ratio),
    "gbce": lambda p, n, w, numbers: gbce(
        p,
        n,
        w,
        num_items=numbers.num_items,
        calibration=numbers.calibration,
        ratio=numbers.ratio,
    ),
    "hinge": lambda p, n, w, numbers: hinge(
        p, n, w, margin=numbers.margin, temperature=numbers.temperature
    ),
    "logistic": lambda p, n, w, numbers: logistic(p, n, w),
}
# Those whose columns are every item, instead of the negatives that were drawn.
WHOLE_CATALOGUE = frozenset({"full_softmax"})
# Those that the one-sweep softmax computes.
SOFTMAX = frozenset({"sampled_softmax", "full_softmax"})
