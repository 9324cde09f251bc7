"""Bags: features of several values per entity, as weighted means of rows of a table.

The vector of a bag is linear in the rows, so the loss is differentiated by the vector,
and the gradient of a row is a weighted sum over the bags that hold it. Nothing is
sorted, and no array has one row per value of the batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.data.shards import (
    BY_ROWS,
    WHOLE,
    on_shards,
    over_tables,
    own_places,
    table_shards,
)

# Values that are added per turn of the loop.
UNROLL = 4


class Bag(NamedTuple):
    """Rows of a table per entity, and their weights.

    Attributes:
      ids: [E, width] int32; the table's size for a missing value.
      weight: [E, width] float32, 0 for a missing value.
      total: [E] float32 above 0, by which the weighted sum is divided.
    """

    ids: jax.Array
    weight: jax.Array
    total: jax.Array


def mean_bag(ids: jax.Array, size: int) -> Bag:
    """Bag whose vector is the mean of the rows that are present.

    Args:
      ids: [E, width] int32; an id outside 0..size-1 is a missing value.

    Examples:
      >>> bag = mean_bag(jnp.array([[0, 1], [1, -1]]), 2)
      >>> bag_vectors(jnp.array([[1.0], [2.0]]), bag).tolist()
      [[1.5], [2.0]]
    """
    present = (ids >= 0) & (ids < size)
    number = jnp.maximum(present.sum(axis=1), 1).astype(jnp.float32)
    return Bag(jnp.where(present, ids, size), present.astype(jnp.float32), number)


def bag_vectors(table: jax.Array, bag: Bag) -> jax.Array:
    """Vectors of bags: sum_w weight_w row_w / total.

    Returns:
      [E, dim] float32.
    """
    return _weighted_sums(table, bag.ids, bag.weight) / bag.total[:, None]


def gather_bags(table: jax.Array, bag: Bag) -> jax.Array:
    """Vectors of bags of a table that may be spread over devices.

    Returns:
      [E, dim] float32, of `bag_vectors`.
    """
    if table_shards() == 1:
        return bag_vectors(table, bag)

    def own_sums(table: jax.Array, ids: jax.Array, weight: jax.Array) -> jax.Array:
        places = own_places(ids, table.shape[0])
        own = jnp.where(places < table.shape[0], weight, 0)
        return over_tables(_weighted_sums(table, places, own))

    sums = on_shards(own_sums, (BY_ROWS, WHOLE, WHOLE), WHOLE)
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


def first_bags(bag: Bag, number: int) -> Bag:
    """The first bags."""
    return Bag(bag.ids[:number], bag.weight[:number], bag.total[:number])
