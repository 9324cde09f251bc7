"""Distinct ids of a batch, and the place of each id among them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Distinct(NamedTuple):
    """Distinct ids among ids.

    Attributes:
      ids: [room] int32, ascending, behind them the padding.
      place: [n] int32 index of each id into ``ids``.
    """

    ids: jax.Array
    place: jax.Array

    def counts(self) -> jax.Array:
        """How often each distinct id stands among the ids, [room] int32."""
        return jnp.zeros_like(self.ids).at[self.place].add(1)


def find_distinct(ids: jax.Array, room: int, padding: int) -> Distinct:
    """Distinct ids, as `jnp.unique` with an inverse has them, in a third of the time.

    The ids are sorted alone, which a CPU does many times faster than with their places;
    each place is then found by bisection.

    Args:
      ids: [n] int32, n at least 1.
      room: length of the result, at least the number of distinct ids below the padding.
      padding: value behind the distinct ids, no less than any id.

    Returns:
      The distinct ids; one that is equal to the padding is among them.

    Examples:
      >>> found = find_distinct(jnp.array([3, 1, 3]), 4, 9)
      >>> found.ids.tolist(), found.place.tolist(), found.counts().tolist()
      ([1, 3, 9, 9], [1, 0, 1], [1, 2, 0, 0])
    """
    ids = ids.astype(jnp.int32)
    ordered = jax.lax.sort(ids, is_stable=False)
    first = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
    rank = jnp.cumsum(first, dtype=jnp.int32) - 1
    distinct = jnp.full(room, padding, jnp.int32).at[rank].set(ordered, mode="drop")
    place = jnp.searchsorted(distinct, ids)
    return Distinct(distinct, place.astype(jnp.int32))
