"""Sums over the weighted negatives of a row, which several losses share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twotower_jax.registry import Lazy

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
else:
    jax, jnp = Lazy("jax"), Lazy("jax.numpy")


def check_shapes(positive: jax.Array, negatives: jax.Array) -> None:
    """Refuse logits that do not belong to the same rows.

    Raises:
      ValueError: The shapes do not match.
    """
    if positive.shape != negatives.shape[:1]:
        raise ValueError(
            f"positive must be [batch] and negatives [batch, columns], got "
            f"{positive.shape} and {negatives.shape}"
        )


def weights_of(
    positive: jax.Array, negatives: jax.Array, weight: jax.Array | None
) -> jax.Array:
    """Return the weights [batch, columns] of the negatives, 1 where none are given.

    Raises:
      ValueError: The shapes do not match.
    """
    check_shapes(positive, negatives)
    return jnp.ones_like(negatives) if weight is None else weight


def weighted_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Return sum w v / sum w of each row, [batch]; 0 where the weights sum to 0."""
    total = weight.sum(axis=1)
    return (weight * values).sum(axis=1) / jnp.where(total > 0, total, 1)


def negative_part(
    negatives: jax.Array, weight: jax.Array, ratio: jax.Array | float
) -> jax.Array:
    """Return -c sum_j w_j log sigmoid(-n_j) of each row, [batch], as in `bce`."""
    each = jax.nn.softplus(negatives)
    counted = (weight * each).sum(axis=1)
    return jnp.where(ratio > 0, ratio * weighted_mean(each, weight), counted)


def log_sum(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return log sum_j e^{l_j} of each row, and whether any logit is above -inf.

    Returns:
      [batch] float, 0 for a row with every logit masked, and [batch] bool. The gradient
      of such a row is 0.
    """
    filled = (logits > -jnp.inf).any(axis=1)
    return jax.nn.logsumexp(
        jnp.where(filled[:, None], logits, 0), axis=1
    ) * filled, filled
