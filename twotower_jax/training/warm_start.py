"""Parameters that replace initial ones: of an earlier run, or computed from clicks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.training.stored_arrays import path_name


class KnownRows(NamedTuple):
    """Rows of a table whose start is known.

    Attributes:
      rows: [n] int32, distinct places in the table of this run.
      values: [n, dim] float32, their start.
    """

    rows: np.ndarray
    values: np.ndarray


class WarmStart(NamedTuple):
    """Parameters that replace initial ones; the other rows of tables keep theirs.

    Attributes:
      tables: Rows of each table by its path, such as "tables/query.id".
      values: All other parameters by their paths; those that are missing keep theirs.
    """

    tables: Mapping[str, KnownRows] = MappingProxyType({})
    values: Mapping[str, np.ndarray] = MappingProxyType({})

    def apply(self, params: dict[str, Any]) -> dict[str, Any]:
        """Params with the known rows, the dense parameters and the temperature."""

        def value(path: Any, initial: jax.Array) -> jax.Array:
            name = path_name(path)
            if name in self.tables:
                known = self.tables[name]
                return initial.at[known.rows].set(known.values)
            return jnp.asarray(self.values.get(name, initial))

        return jax.tree_util.tree_map_with_path(value, params)
