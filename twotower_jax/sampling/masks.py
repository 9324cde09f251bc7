"""Masks: items that the user is known to like are no negatives of their rows.

Every user's training positives are one sorted list; a batch looks up only those of its
own users, so the cost depends on the batch and not on users or catalogue.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Positives that are looked up at a time.
CHUNK = 2**15
# Halvings of a list of at most 2^31 items.
HALVINGS = 31


class UserPositives(NamedTuple):
    """Training positives of every user.

    Attributes:
      begin: [users + 1] int32, a user's positives are item[begin[u]:begin[u + 1]].
      item: [pairs] int32, ascending for each user, distinct.
    """

    begin: jax.Array
    item: jax.Array


def user_positives(
    user: np.ndarray, item: np.ndarray, num_users: int, num_items: int
) -> UserPositives:
    """Return the distinct items of every user from pairs [n]."""
    pairs = np.unique(user.astype(np.int64) * num_items + item)
    counts = np.bincount(pairs // num_items, minlength=num_users)
    begin = np.concatenate([[0], np.cumsum(counts)])
    return UserPositives(
        jnp.asarray(begin, jnp.int32), jnp.asarray(pairs % num_items, jnp.int32)
    )


def seen_places(
    positives: UserPositives, users: jax.Array, distinct: jax.Array
) -> jax.Array:
    """Return whether the row's user has each item as a training positive: [B, U] bool.

    Args:
      positives: of every user.
      users: [B] int32 of the rows.
      distinct: [U] int32 ascending items.
    """
    begin = positives.begin[users]
    ends = jnp.cumsum(positives.begin[users + 1] - begin)
    starts = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    rows, width = users.shape[0], distinct.shape[0]

    def look_up(chunk: jax.Array, seen: jax.Array) -> jax.Array:
        flat = chunk * CHUNK + jnp.arange(CHUNK, dtype=ends.dtype)
        row = jnp.searchsorted(ends, flat, side="right").astype(jnp.int32)
        known = jnp.minimum(row, rows - 1)
        item = positives.item[begin[known] + flat - starts[known]]
        place = jnp.minimum(jnp.searchsorted(distinct, item), width - 1)
        hit = (row < rows) & (distinct[place] == item)
        return seen.at[jnp.where(hit, row, rows), place].set(True, mode="drop")

    empty = jnp.zeros((rows, width), bool)
    return jax.lax.fori_loop(0, -(-ends[-1] // CHUNK), look_up, empty)


def contains(positives: UserPositives, users: jax.Array, items: jax.Array) -> jax.Array:
    """Return whether items [B, K] are training positives of the rows' users [B]."""
    low = jnp.broadcast_to(positives.begin[users][:, None], items.shape)
    high = end = jnp.broadcast_to(positives.begin[users + 1][:, None], items.shape)

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) // 2
        right = positives.item[middle] < items
        open_ = low < high
        return (
            jnp.where(open_ & right, middle + 1, low),
            jnp.where(open_ & ~right, middle, high),
        )

    low, _ = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
    return (low < end) & (positives.item[low] == items)
