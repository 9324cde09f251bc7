"""Embedding tables: rows are gathered first and are what the loss is differentiated by.

A batch touches few rows of a table. Its distinct rows are gathered, the loss is a
function of these rows, and the optimizer writes them back, so that a step costs the
same whatever the size of the table.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

# Rows of a table that are initialised at a time: 16 MB at dimension 64.
INIT_ROWS = 2**16


class FeatureSpec(NamedTuple):
    """A feature of one tower, static.

    Attributes:
      name: as in the configuration.
      kind: "id", "categorical", "multi", "history" or "numeric".
      size: rows of its table; 0 for numeric.
    """

    name: str
    kind: str
    size: int


class Rows(NamedTuple):
    """The distinct rows that a batch touches in one table.

    Attributes:
      ids: [R] int32, ascending, padded with the table's size.
      place: the looked-up ids' shape, index of each into ``ids``.
      present: same shape, False for a missing value.
    """

    ids: jax.Array
    place: jax.Array
    present: jax.Array


def init_table(
    key: jax.Array, size: int, dim: int, scale: float | jax.Array
) -> jax.Array:
    """Return a table [size, dim] float32, uniform in [-scale, scale].

    Blocks of rows have keys of their own, so that the memory that is needed beside the
    table does not grow with it.
    """
    block = min(INIT_ROWS, size)

    def fill(number: jax.Array, table: jax.Array) -> jax.Array:
        part = jax.random.fold_in(key, number)
        rows = jax.random.uniform(part, (block, dim), jnp.float32, -scale, scale)
        # The start of the last block is moved back so that it fits.
        return jax.lax.dynamic_update_slice(table, rows, (number * block, 0))

    start = jnp.zeros((size, dim), jnp.float32)
    return jax.lax.fori_loop(0, -(-size // block), fill, start)


def find_rows(ids: jax.Array, size: int) -> Rows:
    """Return the distinct rows among ids of any shape; ids outside 0..size-1 miss."""
    present = (ids >= 0) & (ids < size)
    wanted = jnp.where(present, ids, size).reshape(-1)
    distinct, place = jnp.unique(
        wanted, size=min(wanted.size, size + 1), fill_value=size, return_inverse=True
    )
    return Rows(distinct.astype(jnp.int32), place.reshape(ids.shape), present)


def gather(table: jax.Array, rows: Rows) -> jax.Array:
    """Return the rows [R, dim]; padding is 0."""
    return table.at[rows.ids].get(mode="fill", fill_value=0)


def pool(values: jax.Array, rows: Rows) -> jax.Array:
    """Return vectors [E, dim] of E entities from the gathered rows [R, dim].

    One id an entity: its row, 0 where it is missing. Several ids, [E, width]: the
    mean of those present, 0 where none is.
    """
    looked_up = values[rows.place] * rows.present[..., None].astype(values.dtype)
    if rows.place.ndim == 1:
        return looked_up
    number = rows.present.sum(axis=1, keepdims=True)
    return looked_up.sum(axis=1) / jnp.maximum(number, 1).astype(values.dtype)
