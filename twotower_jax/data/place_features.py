"""Features of users and items on a mesh: spread by rows over the axis of the tables."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from twotower_jax.data.feed import Entities
from twotower_jax.data.processes import put
from twotower_jax.data.shards import BY_ROWS, TABLE, WHOLE, stored_rows


def place_features(mesh: Mesh, entities: Entities) -> Entities:
    """Features where the tables have their rows, and histories on every device.

    Args:
      mesh: devices.
      entities: features, of the host or on devices; those in their place stay there.

    Returns:
      The features, padded with missing values to whole blocks.
    """
    shards = mesh.shape[TABLE]
    by_rows = NamedSharding(mesh, BY_ROWS if shards > 1 else WHOLE)

    def spread(values: Any) -> jax.Array:
        if isinstance(values, jax.Array) and values.sharding == by_rows:
            return values
        return put(_padded(values, stored_rows(len(values), shards)), by_rows)

    query, candidate = jax.tree.map(spread, (entities.query, entities.candidate))
    history = entities.history
    if history is not None:
        history = put(history, NamedSharding(mesh, WHOLE))
    return Entities(query, candidate, history)


def _padded(values: Any, rows: int) -> Any:
    """Return the values of a feature with missing ones behind: 0, or the code -1."""
    more = rows - len(values)
    if not more:
        return values
    values = np.asarray(values)
    missing = 0 if np.issubdtype(values.dtype, np.floating) else -1
    widths = [(0, more), *[(0, 0)] * (values.ndim - 1)]
    return np.pad(values, widths, constant_values=missing)
