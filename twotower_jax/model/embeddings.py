"""Embedding tables: the loss is differentiated by the gathered rows.

The distinct rows that a batch touches are gathered, the loss is a function of them, and
the optimizer writes them back: the cost of a step does not depend on the table's size.

Features of several values per entity are bags: weighted means of rows, linear in them.
The loss is differentiated by the vector of a bag, and the gradient of a row is a
weighted sum over the bags that hold it. No array has one row per value.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.arrays import shards
from twotower_jax.arrays.distinct import find_distinct

INIT_ROWS = 2**16  # rows of a table initialised at a time: 16 MB at dimension 64


class FeatureSpec(NamedTuple):
    """A feature of one tower, static."""

    name: str  # as in the configuration
    kind: str  # "id", "categorical", "multi", "history", "numeric" or "vector"
    size: int  # rows of its table; 0 for numeric and vector
    width: int = 0  # numbers of a vector; 0 for other kinds

    @property
    def numbers(self) -> int:
        """Numbers per entity: 1 of numeric, the width of a vector, 0 of codes."""
        return 1 if self.kind == "numeric" else self.width


class TableRows(NamedTuple):
    """The distinct rows that a batch touches in one table."""

    ids: jax.Array  # [R] int32, ascending, padded with the table's size
    # the looked-up ids' shape, index of each into `ids`; None where they are its first
    place: jax.Array | None
    present: jax.Array  # same shape, False for a missing value


def is_of_ids(table: str) -> bool:
    """Whether a table holds embeddings of users or items, not of features."""
    return table.split(".", 1)[1] in ("id", "history")


def init_table(
    key: jax.Array, size: int, dim: int, scale: float | jax.Array
) -> jax.Array:
    """Initial table, uniform in [-scale, scale); blocks of rows have their own keys."""
    parts = shards.table_shards()
    if parts > 1:
        own = shards.stored_rows(size, parts) // parts
        own_block = partial(_init_block, own, size, dim)
        specs = (shards.WHOLE, shards.WHOLE), shards.BY_ROWS
        return shards.on_shards(own_block, *specs)(key, jnp.float32(scale))
    block = min(INIT_ROWS, size)

    def fill(number: jax.Array, table: jax.Array) -> jax.Array:
        first, rows = _init_rows(key, number, size, dim, scale)
        return jax.lax.dynamic_update_slice(table, rows, (first, 0))

    # Every row is overwritten. Zeros would be one array that both tables copy, a third
    # table in memory; a number of the key's own is filled in place.
    start = jnp.full((size, dim), jax.random.uniform(key, (), jnp.float32))
    return jax.lax.fori_loop(0, -(-size // block), fill, start)


def _init_rows(
    key: jax.Array, number: jax.Array, size: int, dim: int, scale: float | jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the first row of a block of an initial table, and the block's rows."""
    block = min(INIT_ROWS, size)
    part = jax.random.fold_in(key, number)
    rows = jax.random.uniform(part, (block, dim), jnp.float32, -scale, scale)
    # The start of the last block is moved back so that it fits.
    return jnp.minimum(number * block, size - block), rows


def _init_block(
    own: int, size: int, dim: int, key: jax.Array, scale: jax.Array
) -> jax.Array:
    """Return the rows [own, dim] of an initial table that this device holds.

    The blocks of the whole table that reach into them are drawn. The last block goes
    last: it overwrites the end of the one before.
    """
    block = min(INIT_ROWS, size)
    last = -(-size // block) - 1

    def fill(number: jax.Array, table: jax.Array) -> jax.Array:
        first, rows = _init_rows(key, number, size, dim, scale)
        places = shards.own_places(first + jnp.arange(block, dtype=jnp.int32), own)
        return table.at[places].set(rows, mode="drop")

    begin = jax.lax.axis_index(shards.TABLE) * own
    table = jnp.zeros((own, dim), jnp.float32)
    end = jnp.minimum((begin + own - 1) // block + 1, last)
    table = jax.lax.fori_loop(jnp.minimum(begin // block, last), end, fill, table)
    return fill(jnp.int32(last), table)


def find_rows(ids: jax.Array, size: int) -> TableRows:
    """Distinct rows of a table among ids."""
    present = (ids >= 0) & (ids < size)
    flat = jnp.where(present, ids, size).reshape(-1)
    found = find_distinct(flat, min(flat.size, size + 1), size)
    return TableRows(found.ids, found.place.reshape(ids.shape), present)


def ascending_rows(ids: jax.Array, size: int) -> TableRows:
    """Rows of ids that are distinct and ascend."""
    return TableRows(jnp.minimum(ids, size), None, ids < size)


def whole_rows(ids: jax.Array, size: int) -> TableRows:
    """All rows of a table, in their order: ids are places in the table itself."""
    present = (ids >= 0) & (ids < size)
    every = jnp.arange(size, dtype=jnp.int32)
    return TableRows(every, jnp.where(present, ids, 0), present)


def gather(table: jax.Array, rows: TableRows) -> jax.Array:
    """Gathered rows of a table, [R, dim] float32."""
    if shards.table_shards() == 1:
        return table.at[rows.ids].get(mode="fill", fill_value=0)
    return shards.from_shards(table, rows.ids)


def join_numbers(parts: Sequence[jax.Array]) -> jax.Array | None:
    """Numbers of several features side by side, [E, n] float32."""
    columns = [part[:, None] if part.ndim == 1 else part for part in parts]
    return jnp.concatenate(columns, 1) if columns else None


def number_vectors(
    features: Sequence[FeatureSpec], numbers: jax.Array | None, kernel: jax.Array | None
) -> list[jax.Array]:
    """Vectors of the features that are numbers: x W, with n rows of W for n numbers."""
    vectors, first = [], 0
    for feature in features:
        if feature.numbers and numbers is not None and kernel is not None:
            part = slice(first, first + feature.numbers)
            x, rows = numbers[:, part], kernel[part]
            vectors.append(x * rows if feature.numbers == 1 else x @ rows)
            first += feature.numbers
    return vectors


def look_up(values: jax.Array, rows: TableRows) -> jax.Array:
    """Vectors of entities with one id each, from gathered rows, [E, dim] float32."""
    first = rows.present.shape[0]
    found = values[:first] if rows.place is None else values[rows.place]
    return found * rows.present[:, None].astype(values.dtype)


# --- bags -----------------------------------------------------------------------------

UNROLL = 4  # values that are added per turn of the loop


class Bag(NamedTuple):
    """Rows of a table per entity, and their weights."""

    ids: jax.Array  # [E, width] int32; the table's size for a missing value
    weight: jax.Array  # [E, width] float32, 0 for a missing value
    total: jax.Array  # [E] float32 above 0, by which the weighted sum is divided


def mean_bag(ids: jax.Array, size: int) -> Bag:
    """Bag whose vector is the mean of the rows that are present."""
    present = (ids >= 0) & (ids < size)
    number = jnp.maximum(present.sum(axis=1), 1).astype(jnp.float32)
    return Bag(jnp.where(present, ids, size), present.astype(jnp.float32), number)


def bag_vectors(table: jax.Array, bag: Bag) -> jax.Array:
    """Vectors of bags: sum_w weight_w row_w / total, [E, dim] float32."""
    return _weighted_sums(table, bag.ids, bag.weight) / bag.total[:, None]


def gather_bags(table: jax.Array, bag: Bag) -> jax.Array:
    """Vectors of bags of a table that may be spread over devices, [E, dim] float32."""
    if shards.table_shards() == 1:
        return bag_vectors(table, bag)

    def own_sums(table: jax.Array, ids: jax.Array, weight: jax.Array) -> jax.Array:
        places = shards.own_places(ids, table.shape[0])
        own = jnp.where(places < table.shape[0], weight, 0)
        return shards.over_tables(_weighted_sums(table, places, own))

    specs = (shards.BY_ROWS, shards.WHOLE, shards.WHOLE), shards.WHOLE
    sums = shards.on_shards(own_sums, *specs)
    return sums(table, bag.ids, bag.weight) / bag.total[:, None]


def _weighted_sums(table: jax.Array, ids: jax.Array, weight: jax.Array) -> jax.Array:
    """Return the weighted sums [E, dim] of rows of a table."""
    number, width = ids.shape
    ids, weight = ids.T, weight.T

    def add(place: jax.Array, total: jax.Array) -> jax.Array:
        # A missing value reads some row, with weight 0.
        return total + table.at[ids[place]].get(mode="clip") * weight[place][:, None]

    # The sum stays in the cache, and no [E, width, dim] is stored.
    start = jnp.zeros((number, table.shape[1]), table.dtype)
    return jax.lax.fori_loop(0, width, add, start, unroll=min(width, UNROLL))
