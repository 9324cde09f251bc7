"""Losses of arrays: one value per row, without configuration and without keys.

A row has one positive and any number of negatives. Logits are scores (dot product over
temperature) that the caller has corrected. The weight of a negative is the number of
draws that it stands for, 0 for a masked one. A masked negative has probability 0 and
gradient 0 exactly.
"""

import jax
import jax.numpy as jnp

from twotower_jax.losses.row_weights import (
    check_shapes,
    log_sum,
    negative_part,
    weighted_mean,
    weights_of,
)


def sampled_softmax(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    decoupled: bool = False,
    negative_weight: jax.Array | float | None = None,
) -> jax.Array:
    """Return -p + c log(e^p + sum_j w_j e^{n_j}) of every row.

    With c = 1 this is -log [ e^p / (e^p + sum_j w_j e^{n_j}) ]. ``decoupled`` leaves
    the positive out of the sum: -p + c log sum_j w_j e^{n_j}.

    Args:
      positive: [batch] float, logit of the positive.
      negatives: [batch, columns] float, logits of the negatives; -inf masks one.
      weight: [batch, columns] float, draws that a negative stands for; None is 1.
      decoupled: Whether the positive is left out of the sum.
      negative_weight: Factor c of the logarithm; None is 1.

    Returns:
      [batch] float32 loss, unreduced. A row with every negative masked has loss 0 if
      decoupled, and (c - 1) p otherwise.

    Raises:
      ValueError: The shapes do not match.

    Examples:
      >>> import jax.numpy as jnp
      >>> loss = sampled_softmax(jnp.zeros(1), jnp.zeros((1, 3)))
      >>> round(float(loss[0]), 4)  # log 4
      1.3863
      >>> loss = sampled_softmax(jnp.zeros(1), jnp.zeros((1, 3)), decoupled=True)
      >>> round(float(loss[0]), 4)  # log 3
      1.0986

    References:
      Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, eq. 4 (both
      corrected); Khrylchenko et al., Correcting the LogQ Correction, RecSys 2025
      (negatives corrected by their expected count, positive not); Yeh et al.,
      Decoupled Contrastive Learning, ECCV 2022 (the positive left out); Wu et al.,
      BSL: Understanding and Improving Softmax Loss for Recommendation, ICDE 2024 (c,
      the ratio of the temperatures of positives and negatives).
    """
    check_shapes(positive, negatives)
    if weight is not None:
        negatives = negatives + jnp.log(weight)
    if decoupled:
        total, filled = log_sum(negatives)
    else:
        logits = jnp.concatenate([positive[:, None], negatives], axis=1)
        total, filled = jax.nn.logsumexp(logits, axis=1), True
    if negative_weight is not None:
        total = negative_weight * total
    return jnp.where(filled, total - positive, 0) if decoupled else total - positive


def bce(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    ratio: jax.Array | float = 0.0,
) -> jax.Array:
    """Return -log sigmoid(p) - c sum_j w_j log sigmoid(-n_j) of every row.

    With ``ratio`` r > 0 the weights are scaled to sum to r. In expectation this is the
    loss of r drawn negatives per positive (1:2, 1:3). With ratio 0 the factor c is 1.

    Args:
      positive: [batch] float, logit of the positive.
      negatives: [batch, columns] float, finite logits of the negatives.
      weight: [batch, columns] float, draws that a negative stands for; None is 1.
      ratio: Negatives per positive, or 0.

    Returns:
      [batch] float32 loss, unreduced.

    Raises:
      ValueError: The shapes do not match.

    Examples:
      >>> loss = bce(jnp.zeros(1), jnp.zeros((1, 3)))
      >>> round(float(loss[0]), 4)  # 4 log 2
      2.7726
      >>> loss = bce(jnp.zeros(1), jnp.zeros((1, 3)), ratio=2.0)
      >>> round(float(loss[0]), 4)  # 3 log 2
      2.0794

    References:
      He et al., Neural collaborative filtering, WWW 2017, eq. 7 (drawn negatives).
    """
    weight = weights_of(positive, negatives, weight)
    return jax.nn.softplus(-positive) + negative_part(negatives, weight, ratio)


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

    beta = a (t (1 - 1/a) + 1/a) = t (a - 1) + 1, with the sampling rate
    a = c sum_j w_j / (num_items - 1): the weight that the row's negatives have in the
    loss, over the number of other items. With uniform negatives and a share P of
    clicks, the optimum has the odds sigmoid / (1 - sigmoid) = beta P / (a (1 - P)).
    t = 0 is bce; t = 1 gives sigmoid = P, whatever the number of draws and the ratio.

    Args:
      positive: [batch] float, logit of the positive.
      negatives: [batch, columns] float, finite logits of the negatives.
      weight: [batch, columns] float, draws that a negative stands for; None is 1.
      num_items: Size of the catalogue.
      calibration: Calibration t, between 0 and 1.
      ratio: Negatives per positive, or 0, as in ``bce``.

    Returns:
      [batch] float32 loss, unreduced.

    Raises:
      ValueError: The shapes do not match.

    Examples:
      >>> at = jnp.zeros(1), jnp.zeros((1, 3))
      >>> loss = gbce(*at, num_items=7, calibration=1.0)  # a = beta = 1/2
      >>> round(float(loss[0]), 4)  # 3.5 log 2
      2.426

    References:
      Petrov & Macdonald, gSASRec: reducing overconfidence, RecSys 2023 (gBCE).
    """
    weight = weights_of(positive, negatives, weight)
    drawn = weight.sum(axis=1)
    counted = jnp.where(ratio > 0, jnp.where(drawn > 0, ratio, 0), drawn)
    power = calibration * (counted / (num_items - 1) - 1) + 1
    return power * jax.nn.softplus(-positive) + negative_part(negatives, weight, ratio)


def hinge(
    positive: jax.Array,
    negatives: jax.Array,
    weight: jax.Array | None = None,
    *,
    margin: jax.Array | float,
    temperature: jax.Array | float = 1.0,
) -> jax.Array:
    """Return the mean over negatives of max(0, margin - (s_p - s_n)) of every row.

    Scores s are the logits times the temperature (cosines), so that the margin does
    not depend on the temperature.

    Args:
      positive: [batch] float, logit of the positive.
      negatives: [batch, columns] float, finite logits of the negatives.
      weight: [batch, columns] float, draws that a negative stands for; None is 1.
      margin: Distance by which the positive has to lead, in units of s.
      temperature: Temperature of the logits.

    Returns:
      [batch] float32 loss, unreduced. A row without negatives has loss 0.

    Raises:
      ValueError: The shapes do not match.

    Examples:
      >>> loss = hinge(jnp.array([0.5]), jnp.array([[0.4, 0.0]]), margin=0.25)
      >>> round(float(loss[0]), 4)  # (0.15 + 0) / 2
      0.075

    References:
      Huang et al., Embedding-based retrieval in Facebook search, KDD 2020, eq. 2, with
      cosines (D = 1 - cos).
    """
    weight = weights_of(positive, negatives, weight)
    ahead = temperature * (positive[:, None] - negatives)
    return weighted_mean(jnp.maximum(margin - ahead, 0), weight)


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
