"""Parameters of an earlier run as the start of another."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class KnownRows(NamedTuple):
    """Rows of a table that an earlier run had too.

    Attributes:
      rows: [n] int32, distinct places in the table of this run.
      values: [n, dim] float32, of the earlier run.
    """

    rows: np.ndarray
    values: np.ndarray


class WarmStart(NamedTuple):
    """Parameters that replace initial ones; the other rows keep theirs.

    Attributes:
      tables: Rows by the name of their table.
      dense: Parameters of both towers.
      log_temperature: [] a learned temperature; None where it was fixed.
    """

    tables: dict[str, KnownRows]
    dense: dict[str, Any]
    log_temperature: np.ndarray | None

    def apply(self, params: dict[str, Any]) -> dict[str, Any]:
        """Params with the known rows, the dense parameters and the temperature.

        Args:
          params: Initial ones, of the same towers.
        """
        tables = {
            name: table.at[self.tables[name].rows].set(self.tables[name].values)
            for name, table in params["tables"].items()
        }
        dense = jax.tree.map(jnp.asarray, self.dense)
        replaced = {"tables": tables, "dense": dense}
        if "log_temperature" in params and self.log_temperature is not None:
            replaced["log_temperature"] = jnp.asarray(self.log_temperature)
        return params | replaced
