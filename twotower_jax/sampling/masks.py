"""Masks: items that are training positives of the row's user are not negatives.

Every user's training positives are one sorted list; a batch looks up only those of its
own users, so the cost depends on the batch and not on users or catalogue.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.registry import Registry

# Positives that are looked up at a time.
CHUNK = 2**15
# Halvings of a list of at most 2^31 items.
HALVINGS = 31


class Mask(NamedTuple):
    """Items that are masked in a row; a choice of ``negatives.mask``.

    Attributes:
      same_item: Every draw of the row's own item is masked. Otherwise only the row's
        own positive is, and other draws of its item count.
      user_positives: Every training positive of the row's user is masked.
    """

    same_item: bool
    user_positives: bool


MASKS: Registry[Mask] = Registry(
    "negatives.mask",
    {
        "none": Mask(same_item=False, user_positives=False),
        "same_item": Mask(same_item=True, user_positives=False),
        "user_positives": Mask(same_item=True, user_positives=True),
    },
)


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
    """Distinct training positives of every user.

    Args:
      user: [n] integers, users of the training positives.
      item: [n] integers, their items; a repeated pair counts once.
      num_users: number of users.
      num_items: size of the catalogue.

    Returns:
      The lists, on the device.

    Examples:
      >>> lists = user_positives(np.array([1, 0, 1]), np.array([4, 2, 3]), 2, 9)
      >>> lists.begin.tolist(), lists.item.tolist()
      ([0, 1, 3], [2, 3, 4])
    """
    pairs = np.unique(user.astype(np.int64) * num_items + item)
    counts = np.bincount(pairs // num_items, minlength=num_users)
    begin = np.concatenate([[0], np.cumsum(counts)])
    return UserPositives(
        jnp.asarray(begin, jnp.int32), jnp.asarray(pairs % num_items, jnp.int32)
    )


def seen_places(
    positives: UserPositives, users: jax.Array, distinct: jax.Array
) -> jax.Array:
    """Whether each item is a training positive of the row's user.

    Args:
      positives: of every user.
      users: [B] int32 of the rows.
      distinct: [U] int32 ascending items.

    Returns:
      [B, U] bool.

    Examples:
      >>> lists = user_positives(np.array([1, 0, 1]), np.array([4, 2, 3]), 2, 9)
      >>> seen_places(lists, jnp.array([1, 0]), jnp.array([2, 4])).tolist()
      [[False, True], [True, False]]
    """
    begin = positives.begin[users]
    ends = jnp.cumsum(positives.begin[users + 1] - begin)
    starts = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    rows, width = users.shape[0], distinct.shape[0]

    def look_up(chunk: jax.Array, seen: jax.Array) -> jax.Array:
        flat = chunk * CHUNK + jnp.arange(CHUNK, dtype=ends.dtype)
        row = jnp.searchsorted(ends, flat, side="right").astype(jnp.int32)
        # Beyond the last positive of the batch, the last row is read and dropped.
        at = jnp.minimum(row, rows - 1)
        item = positives.item[begin[at] + flat - starts[at]]
        place = jnp.minimum(jnp.searchsorted(distinct, item), width - 1)
        hit = (row < rows) & (distinct[place] == item)
        return seen.at[jnp.where(hit, row, rows), place].set(True, mode="drop")

    empty = jnp.zeros((rows, width), bool)
    return jax.lax.fori_loop(0, -(-ends[-1] // CHUNK), look_up, empty)


def contains(positives: UserPositives, users: jax.Array, items: jax.Array) -> jax.Array:
    """Whether items of rows are training positives of the rows' users.

    Args:
      positives: of every user.
      users: [B] int32 of the rows.
      items: [B, K] int32.

    Returns:
      [B, K] bool.

    Examples:
      >>> lists = user_positives(np.array([1, 0, 1]), np.array([4, 2, 3]), 2, 9)
      >>> contains(lists, jnp.array([1]), jnp.array([[2, 3]])).tolist()
      [[False, True]]
    """
    low = jnp.broadcast_to(positives.begin[users][:, None], items.shape)
    high = end = jnp.broadcast_to(positives.begin[users + 1][:, None], items.shape)

    def halve(
        _: jax.Array, bounds: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        right = positives.item[middle] < items
        unfinished = low < high
        return (
            jnp.where(unfinished & right, middle + 1, low),
            jnp.where(unfinished & ~right, middle, high),
        )

    low, _ = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
    return (low < end) & (positives.item[low] == items)
