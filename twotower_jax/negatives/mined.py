"""Hard negatives that the model itself mines: a window of its exact ranking."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from twotower_jax.data.shards import take
from twotower_jax.negatives.slots import HARD_SOURCES, PooledHard
from twotower_jax.negatives.source import Batch, RowPools, row_pools


@dataclass(frozen=True)
class Mined(PooledHard):
    """Uniform draws from the window of the ranking that was mined last.

    Attributes:
      num_items: size of the catalogue.
    """

    mined = True
    num_items: int

    def pools(self, memory: dict, batch: Batch) -> RowPools:
        """The windows of the rows' users, which are empty before the first mining."""
        item = take(memory["mined"], batch.queries.user)
        present = item < self.num_items
        number = present.sum(axis=1, keepdims=True).astype(jnp.float32)
        return row_pools(item, jnp.where(present, -jnp.log(number), -jnp.inf))


HARD_SOURCES["mined"] = Mined


def window(items: np.ndarray, first: int, end: int, num_items: int) -> np.ndarray:
    """Ranks [first, end) of exact top-k lists as pools of hard negatives.

    The first ranks hold items that the user would like as well (false negatives), the
    last ones are easy; a window such as [100, 500) leaves out both.

    Args:
      items: [Q, K] int items, best first; an id outside 0..num_items - 1, such as the
        -1 of `top_k`, is padding.
      first: static rank, from 0.
      end: static rank, above first.
      num_items: size of the catalogue, the id of padding.

    Returns:
      [Q, end - first] int32, also where K is smaller than end; num_items is padding. A
      row without an item in the window is all padding.

    Raises:
      ValueError: unless 0 <= first < end.

    Examples:
      >>> window(np.array([[4, 2, 7, -1]]), 1, 4, num_items=9).tolist()
      [[2, 7, 9]]
    """
    if not 0 <= first < end:
        raise ValueError(
            f"a window of ranks needs 0 <= first < end, got [{first}, {end})"
        )
    part = np.asarray(items, np.int32)[:, first:end]
    missing = end - first - part.shape[1]
    part = np.pad(part, ((0, 0), (0, missing)), constant_values=num_items)
    valid = (part >= 0) & (part < num_items)
    return np.where(valid, part, np.int32(num_items))
