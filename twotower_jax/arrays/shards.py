"""Tables whose rows are spread over devices: looked up and updated where they lie.

With a mesh whose axis ``table`` has T devices, a table of n rows is stored as T blocks
of ceil(n / T) rows, the last ones padded with zeros, and device t of the axis holds
block t. Every device reads its own rows of a batch and the axis adds them up; every
device changes its own rows. No device ever holds a table.

The mesh is the one of ``jax.set_mesh``. Without one, or where its axis has one device,
tables are whole and the code is that of a single device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from twotower_jax.arrays.processes import put

DATA, TABLE = "data", "table"
MOST_SHARDS = 2**12  # devices over which the rows of a table may be spread
WHOLE, BY_ROWS = PartitionSpec(), PartitionSpec(TABLE)
BY_COLUMNS = PartitionSpec(None, TABLE)
BY_BATCH = PartitionSpec((DATA, TABLE))


def table_shards() -> int:
    """Return the devices over which the rows of a table are spread, 1 without a mesh.

    Examples:
      >>> table_shards()
      1
    """
    return jax.sharding.get_abstract_mesh().shape.get(TABLE, 1)


def stored_rows(rows: int, shards: int) -> int:
    """Rows of a table as it is stored: the next multiple of the shards.

    Examples:
      >>> stored_rows(10, 1), stored_rows(10, 4)
      (10, 12)
    """
    return -(-rows // shards) * shards


def own_places(ids: jax.Array, own: int) -> jax.Array:
    """Places of rows within the block of this device, inside of `on_tables`."""
    if table_shards() == 1:
        return ids
    place = ids - jax.lax.axis_index(TABLE) * own
    return jnp.where((place >= 0) & (place < own), place, own)


def on_shards(function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """The function on every device, with its blocks of the arguments."""
    return jax.shard_map(
        function, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def on_tables(function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """`on_shards` where tables are spread; the function itself where they are whole."""
    return function if table_shards() == 1 else on_shards(function, in_specs, out_specs)


def take(values: Any, ids: jax.Array) -> jax.Array:
    """Values of items or users, from an array that may be spread like a table.

    Examples:
      >>> take(jnp.array([5.0, 7.0]), jnp.array([[1, 0]])).tolist()
      [[7.0, 5.0]]
    """
    if table_shards() == 1:
        return values[ids]

    return from_shards(values, jnp.minimum(ids, values.shape[0] - 1))


def take_known(values: jax.Array, ids: jax.Array, missing: float) -> jax.Array:
    """Values that may be missing, from an array that may be spread like a table.

    Examples:
      >>> take_known(jnp.array([5, 7]), jnp.array([1, 2]), -1).tolist()
      [7, -1]
      >>> take_known(jnp.zeros(0, int), jnp.array([1, 2]), -1).tolist()
      [-1, -1]
    """
    if not len(values):  # of no entry nothing can be gathered
        return jnp.full((*ids.shape, *values.shape[1:]), missing, values.dtype)
    if table_shards() == 1:
        return values.at[ids].get(mode="fill", fill_value=missing)

    found = from_shards(values, ids)
    known = (ids >= 0) & (ids < values.shape[0])
    known = jnp.expand_dims(known, tuple(range(ids.ndim, found.ndim)))
    # The sum is on all devices. Without the constraint the compiler would keep all that
    # is computed from it there, each device a whole batch.
    return spread_batch(jnp.where(known, found, missing))


def take_rows(values: Any, rows: jax.Array) -> jax.Array:
    """Values of the positives of a batch, from an array that may be spread.

    Examples:
      >>> take_rows(jnp.array([5, 7, 9]), jnp.array([2, 0])).tolist()
      [9, 5]
    """
    if table_shards() == 1:
        return values[rows]

    return spread_batch(from_shards(values, rows))


def from_shards(values: jax.Array, ids: jax.Array) -> jax.Array:
    """The values of ids from an array, spread or not, on all devices; 0 of no entry."""

    def own_values(values: jax.Array, ids: jax.Array) -> jax.Array:
        places = own_places(ids, values.shape[0])
        return over_tables(values.at[places].get(mode="fill", fill_value=0))

    return on_tables(own_values, (BY_ROWS, WHOLE), WHOLE)(values, ids)


def take_own(values: jax.Array, ids: jax.Array) -> jax.Array:
    """Values of the ids of this device, inside of `on_shards` or on one device.

    Examples:
      >>> take_own(jnp.array([5, 7]), jnp.array([1])).tolist()
      [7]
    """
    if table_shards() == 1:
        return values[ids]

    places = own_places(jax.lax.all_gather(ids, TABLE), values.shape[0])
    found = values.at[places].get(mode="fill", fill_value=0)
    return jax.lax.psum_scatter(found, TABLE)


def most_of_devices(number: jax.Array) -> jax.Array:
    """Return the largest of the numbers of all devices, inside of `on_shards`."""
    if jax.sharding.get_abstract_mesh().size <= 1:
        return number
    return jax.lax.pmax(number, (DATA, TABLE))


def spread_batch(values: jax.Array) -> jax.Array:
    """Return an array whose first axis, rows or candidates of a batch, is spread."""
    if jax.sharding.get_abstract_mesh().size <= 1:
        return values
    return jax.lax.with_sharding_constraint(values, BY_BATCH)


def on_all(values: jax.Array) -> jax.Array:
    """Return an array that every device of the mesh holds whole."""
    if jax.sharding.get_abstract_mesh().size <= 1:
        return values
    return jax.lax.with_sharding_constraint(values, WHOLE)


def over_tables(value: jax.Array) -> jax.Array:
    """The sum of an array over the devices that tables are spread over."""
    return value if table_shards() == 1 else jax.lax.psum(value, TABLE)


def place_rows(mesh: Mesh, tree: Any) -> Any:
    """Arrays where the tables have their rows; whole where those are whole."""
    shards, where = mesh.shape[TABLE], by_rows(mesh)

    def spread(values: Any) -> jax.Array:
        if isinstance(values, jax.Array) and values.sharding == where:
            return values
        return put(_padded(values, stored_rows(len(values), shards)), where)

    return jax.tree.map(spread, tree)


def by_rows(mesh: Mesh) -> NamedSharding:
    """Return the sharding of tables, by rows; that of whole arrays with one shard.

    The two are one then, but jax compiles a program for each of them.
    """
    return NamedSharding(mesh, BY_ROWS if mesh.shape[TABLE] > 1 else WHOLE)


def _padded(values: Any, rows: int) -> Any:
    """Return values with missing ones behind: 0, or the code -1."""
    more = rows - len(values)
    if not more:
        return values
    values = np.asarray(values)
    missing = 0 if np.issubdtype(values.dtype, np.floating) else -1
    widths = [(0, more), *[(0, 0)] * (values.ndim - 1)]
    return np.pad(values, widths, constant_values=missing)
