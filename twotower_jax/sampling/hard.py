"""Draws from the hard negatives of rows, and slots that mix them with easy ones.

A row's pool is L items with their log probabilities; padding has log probability -inf
and an id that no item has. Everything here is exact: what a draw can be has the log
probability that ``hard_log_prob`` and ``slot_log_prob`` say, and nothing else is drawn.
"""

import jax
import jax.numpy as jnp

from twotower_jax.sampling.proposals import fine_uniform


def draw_hard(
    key: jax.Array, item: jax.Array, log_prob: jax.Array, num: int
) -> jax.Array:
    """Draw items from each row's pool, independently and with replacement.

    By inverse of the cumulated probabilities, at the uniform numbers of 48 bits of
    ``_uniform``. A pool that ascends by probability (as those of the log do) keeps the
    proportions of its items to about 1e-6, however small they are; in another order a
    probability is right to about 1e-7 of the whole.

    Args:
      key: used for nothing else.
      item: [B, L] int32, any on padding.
      log_prob: [B, L] float32 log probability of each entry, -inf on padding. A row
        needs no sum of 1: proportions count.
      num: draws a row.

    Returns:
      [B, num] int32; for a row without an entry its last ``item``, which is padding.
    """
    total = cumulated(log_prob)
    # u < 1, and then u * sum < sum in floats too.
    at = fine_uniform(key, (item.shape[0], num)) * total[:, -1:]
    place = jax.vmap(lambda row, u: jnp.searchsorted(row, u, side="right"))(total, at)
    place = jnp.minimum(place, item.shape[1] - 1)
    return jnp.take_along_axis(item, place, axis=1).astype(jnp.int32)


def cumulated(log_prob: jax.Array) -> jax.Array:
    """Return sums from the left of the probabilities of each row, [B, L] float32.

    In units of the row's largest probability. They never fall, nor rise on padding, as
    a plain parallel sum does by a rounding; padding would be drawn with that chance.
    """
    top = log_prob.max(axis=1, keepdims=True)
    prob = jnp.exp(log_prob - jnp.where(top > -jnp.inf, top, 0))
    total = jnp.where(prob > 0, jnp.cumsum(prob, axis=1), 0)
    return jax.lax.cummax(total, axis=1)


def hard_log_prob(item: jax.Array, log_prob: jax.Array, ids: jax.Array) -> jax.Array:
    """Return log pi_u(j) of any ids under each row's pool, -inf outside of it.

    Args:
      item: [B, L] int32, distinct but for padding.
      log_prob: [B, L] float32, -inf on padding.
      ids: [B, K] int32, also those that are no item.

    Returns:
      [B, K] float32.
    """
    same = ids[:, :, None] == item[:, None, :]
    return jnp.where(same, log_prob[:, None, :], -jnp.inf).max(axis=2)


def has_pool(log_prob: jax.Array) -> jax.Array:
    """Return whether a row's pool log_prob [B, L] has an entry: [B] bool."""
    return (log_prob > -jnp.inf).any(axis=1)


def row_ratio(ratio: jax.Array | float, log_prob: jax.Array) -> jax.Array:
    """Return the hard ratio of each row: [B], 0 where its pool [B, L] is empty.

    The ratio of ``mix_slots`` and of ``slot_log_prob`` is this one: rows without a
    pool draw easy negatives only, and their log q has to know.
    """
    return jnp.where(has_pool(log_prob), jnp.asarray(ratio, jnp.float32), 0)


def hard_slots(
    key: jax.Array, shape: tuple[int, int], ratio: jax.Array | float
) -> jax.Array:
    """Return which slots [B, K] are hard: each with its row's ratio, independently.

    Args:
      key: used for nothing else.
      shape: (B, K).
      ratio: [B] or a number; 0 makes no slot hard and 1 every one.
    """
    chance = jnp.reshape(jnp.asarray(ratio, jnp.float32), (-1, 1))
    return jax.random.uniform(key, shape) < chance


def mix_slots(
    key: jax.Array, hard: jax.Array, easy: jax.Array, ratio: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Return slots that are each hard with the row's ratio rho, else easy.

    A slot is then one draw of rho pi_u + (1 - rho) q, independent of the others.

    Args:
      key: used for nothing else, not for the draws of hard or easy either.
      hard: [B, K] int32 draws from the rows' pools.
      easy: [B, K] int32 easy draws.
      ratio: [B] or a number; of ``row_ratio`` where a row may have no pool. At 0 the
        slots are the easy draws, at 1 the hard ones.

    Returns:
      ids [B, K] int32 and is_hard [B, K] bool.
    """
    is_hard = hard_slots(key, (hard.shape[0], hard.shape[1]), ratio)
    return jnp.where(is_hard, hard, easy), is_hard


def slot_log_prob(
    ratio: jax.Array | float, log_hard: jax.Array, log_easy: jax.Array
) -> jax.Array:
    """Return log(rho pi + (1 - rho) q), the log probability of a draw of a slot.

    Args:
      ratio: rho, [B] or a number, as it was given to ``mix_slots``.
      log_hard: [B, K] log pi of the ids, of ``hard_log_prob``.
      log_easy: [B, K] log q of the same ids under the easy proposal.

    Returns:
      [B, K] float32: log q at rho = 0 and log pi at rho = 1, bit for bit.
    """
    rho = jnp.reshape(jnp.asarray(ratio, jnp.float32), (-1, 1))
    return jnp.logaddexp(jnp.log(rho) + log_hard, jnp.log1p(-rho) + log_easy)
