"""Draws from the hard negatives of rows, and slots that mix them with easy ones.

A row's pool is L items with their log probabilities; padding has log probability -inf
and an id that no item has. Everything here is exact: a draw has the log probability
that its pool states, and nothing else is drawn.
"""

import jax
import jax.numpy as jnp

from twotower_jax.negatives.proposals import fine_uniform


def draw_hard(
    key: jax.Array, item: jax.Array, log_prob: jax.Array, num: int
) -> jax.Array:
    """Draws from each row's pool, independent and with replacement.

    By inverse of the cumulated probabilities, at uniform numbers of 48 bits (see
    `fine_uniform`). A pool that ascends by probability, as those of the log do, keeps
    the proportions of its items to about 1e-6, however small they are; in another order
    a probability is right to about 1e-7 of the whole.

    Args:
      item: [B, L] int32, any on padding.
      log_prob: [B, L] float32 log probability of each entry, -inf on padding. A row
        needs no sum of 1: only proportions count.

    Returns:
      [B, num] int32; for a row without an entry its last `item`, which is padding.

    Examples:
      >>> pool = jnp.array([[3, 8]])
      >>> log_prob = jnp.array([[-jnp.inf, 0.0]])
      >>> draw_hard(jax.random.key(0), pool, log_prob, 2).tolist()
      [[8, 8]]
    """
    total = cumulated(log_prob)
    # u < 1, and then u * sum < sum in floats too.
    at = fine_uniform(key, (item.shape[0], num)) * total[:, -1:]
    place = jax.vmap(lambda row, u: jnp.searchsorted(row, u, side="right"))(total, at)
    place = jnp.minimum(place, item.shape[1] - 1)
    return jnp.take_along_axis(item, place, axis=1).astype(jnp.int32)


def cumulated(log_prob: jax.Array) -> jax.Array:
    """Sums from the left of the probabilities of each row.

    In units of the row's largest probability. They never fall, nor rise on padding, as
    a plain parallel sum does by a rounding; padding would be drawn with that chance.

    Args:
      log_prob: [B, L] float32, -inf on padding.

    Returns:
      [B, L] float32.

    Examples:
      >>> cumulated(jnp.log(jnp.array([[0.25, 0.5, 0.0]]))).tolist()
      [[0.5, 1.5, 1.5]]
    """
    top = log_prob.max(axis=1, keepdims=True)
    prob = jnp.exp(log_prob - jnp.where(top > -jnp.inf, top, 0))
    total = jnp.where(prob > 0, jnp.cumsum(prob, axis=1), 0)
    return jax.lax.cummax(total, axis=1)


def hard_stage(item: jax.Array, stage: jax.Array, ids: jax.Array) -> jax.Array:
    """Stages of any items in each row's pool, -1 outside of it.

    Args:
      item: [B, L] int32, distinct except on padding.
      stage: [B, L] integers, -1 on padding.
      ids: [B, K] int32, also ids outside of the catalogue.

    Returns:
      [B, K] integers.

    Examples:
      >>> pool, stage = jnp.array([[3, 8]]), jnp.array([[0, 2]])
      >>> hard_stage(pool, stage, jnp.array([[8, 4]])).tolist()
      [[2, -1]]
    """
    same = ids[:, :, None] == item[:, None, :]
    return jnp.where(same, stage[:, None, :], -1).max(axis=2)


def has_pool(log_prob: jax.Array) -> jax.Array:
    """Whether each row's pool has an entry.

    Args:
      log_prob: [B, L] float32, -inf on padding.

    Returns:
      [B] bool.

    Examples:
      >>> has_pool(jnp.array([[0.0, -jnp.inf], [-jnp.inf, -jnp.inf]])).tolist()
      [True, False]
    """
    return (log_prob > -jnp.inf).any(axis=1)


def hard_slots(
    key: jax.Array, shape: tuple[int, int], ratio: jax.Array | float
) -> jax.Array:
    """Which slots are hard: each with its row's ratio, independently.

    Args:
      shape: (B, K).
      ratio: [B] or a number; 0 makes no slot hard and 1 every one.

    Returns:
      [B, K] bool.

    Examples:
      >>> hard_slots(jax.random.key(0), (2, 2), jnp.array([0.0, 1.0])).tolist()
      [[False, False], [True, True]]
    """
    chance = jnp.reshape(jnp.asarray(ratio, jnp.float32), (-1, 1))
    return jax.random.uniform(key, shape) < chance
