"""Definitions that are slower or simpler than the code that they are compared with."""

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.negatives.hard import hard_slots, has_pool


def full_softmax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the cross-entropy over the whole catalogue: [batch].

    Args:
      logits: [batch, num_items] scores, uncorrected.
      labels: [batch] int32, the positive's item.
    """
    picked = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - picked


def row_ratio(ratio: jax.Array | float, log_prob: jax.Array) -> jax.Array:
    """Return the hard ratio of each row: [B], 0 where its pool [B, L] is empty."""
    return jnp.where(has_pool(log_prob), jnp.asarray(ratio, jnp.float32), 0)


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
      log_hard: [B, K] log pi of the ids, of the row's pool.
      log_easy: [B, K] log q of the same ids under the easy proposal.

    Returns:
      [B, K] float32: log q at rho = 0 and log pi at rho = 1, bit for bit.
    """
    rho = jnp.reshape(jnp.asarray(ratio, jnp.float32), (-1, 1))
    return jnp.logaddexp(jnp.log(rho) + log_hard, jnp.log1p(-rho) + log_easy)


def slow_update(last, gap, cells, ids, t, alpha, *, once=True):
    """Change last and gap [m, H] by a batch at the paper's step t, from 1.

    A bucket that c items of the batch are in is hit once, or c times if not ``once``,
    which is algorithm 2 to the letter: further hits find a gap of 0.
    """
    for row in range(len(gap)):
        hits = np.bincount(cells[row, ids[ids >= 0]], minlength=gap.shape[1])
        at = np.flatnonzero(hits)
        newest = (1 - alpha) * gap[row, at] + alpha * (t - last[row, at])
        gap[row, at] = newest * (1 - alpha) ** (0 if once else hits[at] - 1)
        last[row, at] = t
