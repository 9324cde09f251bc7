"""Distinct ids, and sequences of rows that stand end to end."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Distinct(NamedTuple):
    """Distinct ids among ids."""

    ids: jax.Array  # [room] int32, ascending, behind them the padding
    place: jax.Array  # [n] int32 index of each id into `ids`

    def counts(self) -> jax.Array:
        """How often each distinct id stands among the ids, [room] int32."""
        return jnp.zeros_like(self.ids).at[self.place].add(1)


def find_distinct(ids: jax.Array, room: int, padding: int) -> Distinct:
    """Distinct ids, as `jnp.unique` with an inverse has them, in a third of the time.

    A CPU sorts ids alone many times faster than with their places, which are bisected.
    """
    ids = ids.astype(jnp.int32)
    ordered = jax.lax.sort(ids, is_stable=False)
    first = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
    rank = jnp.cumsum(first, dtype=jnp.int32) - 1
    distinct = jnp.full(room, padding, jnp.int32).at[rank].set(ordered, mode="drop")
    place = jnp.searchsorted(distinct, ids)
    return Distinct(distinct, place.astype(jnp.int32))


def sequence_codes(begin: jax.Array, end: jax.Array) -> jax.Array:
    """Sequences of rows that stand end to end, [B] int32."""
    starts = (end[1:] != end[:-1] + 1) | (begin[1:] != begin[:-1])
    first = jnp.zeros(1, jnp.int32)
    return jnp.concatenate([first, jnp.cumsum(starts, dtype=jnp.int32)])
