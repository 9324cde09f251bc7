"""Hard negatives of the log: items that a stage of the funnel rejected."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from twotower_jax.data.shards import take_known, take_rows
from twotower_jax.negatives.slots import HARD_SOURCES, PooledHard
from twotower_jax.negatives.source import Batch, RowPools


@dataclass(frozen=True)
class Funnel(PooledHard):
    """Draws from the pool of each positive.

    Attributes:
      pools_of_log: pools with the arrays item, log_prob and stage [P, L], and of_row
        [n], the pool of each training positive, -1 for none.
      num_items: size of the catalogue.
    """

    of_log = True
    pools_of_log: Any
    num_items: int

    def pools(self, memory: dict, batch: Batch) -> RowPools:
        """The pools of the rows, empty for a positive that has none."""
        pools = self.pools_of_log
        place = take_rows(jnp.asarray(pools.of_row), batch.rows)
        place = jnp.where(place < 0, len(pools.item), place)

        def rows_of(values: Any, padding: float) -> jax.Array:
            return take_known(jnp.asarray(values), place, padding)

        return RowPools(
            rows_of(pools.item, self.num_items),
            rows_of(pools.log_prob, -jnp.inf),
            rows_of(pools.stage, -1),
        )


HARD_SOURCES["log"] = Funnel
