"""Arrays with a row per user, item or positive, spread on a mesh like tables."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from twotower_jax.arrays.processes import put
from twotower_jax.arrays.shards import BY_ROWS, TABLE, WHOLE, stored_rows


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
