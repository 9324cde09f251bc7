"""In-batch negatives: the positives of the other rows of the batch.

Where sequences stand end to end, the other positives of a row's user are columns with
it whenever the row is: their expected count is their number, not (n - 1) q+.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from twotower_jax.arrays.distinct import sequence_codes
from twotower_jax.negatives import source as src
from twotower_jax.negatives.frequency import PositiveLaw


@dataclass(frozen=True)
class InBatch(src.Source):
    """The positives of the other rows, n - 1 draws from q+.

    References:
      Yi et al., Sampling-bias-corrected neural modeling for large corpus item
      recommendations, RecSys 2019.
    """

    law: PositiveLaw  # the law q+ of the positives, resampled or not
    num_items: int  # size of the catalogue
    longest: int = 0  # rows of the longest sequence end to end; 0 for single clicks
    own_rows: bool = True  # whether other rows of a row's sequence are its negatives

    def draw(self, memory: dict, key: src.Keys, batch: src.Batch) -> src.Shared:
        """The items of the batch [B]."""
        return src.Shared(batch.items)

    def counts(
        self, memory: dict, batch: src.Batch, drawn: src.Shared
    ) -> list[src.Count]:
        """An item is expected (n - 1) q+ times."""
        others: Any = batch.size - 1
        if self.longest:
            # A batch of one sequence alone counts as having one other row: the log of
            # an expected count of 0 would be -inf.
            there = self._of_sequence(batch)[1]
            number = 1 + there.sum(axis=1).mean(dtype=jnp.float32)
            others = jnp.maximum(batch.size - number, 1)
        count = src.ByItem(id(self.law), partial(self.law.log_q, memory, batch), others)
        if not (self.longest and self.own_rows):
            return [count]
        return [count, self._own_items(batch)]

    def _of_sequence(self, batch: src.Batch) -> tuple[jax.Array, jax.Array]:
        """Return places [B, 2 L - 2] near a row, and which are of its sequence."""
        code = sequence_codes(batch.queries.begin, batch.queries.end)
        row = jnp.arange(batch.size, dtype=jnp.int32)
        steps = [step for step in range(1 - self.longest, self.longest) if step]
        other = row[:, None] + jnp.array(steps, jnp.int32)[None, :]
        there = (other >= 0) & (other < batch.size)
        other = jnp.clip(other, 0, batch.size - 1)
        return other, there & (code[other] == code[:, None])

    def _own_items(self, batch: src.Batch) -> src.Listed:
        """Return the items of other rows of each sequence, and their numbers' logs."""
        other, there = self._of_sequence(batch)
        same = there & (batch.items[other] == batch.items[:, None])
        total = 1 + same.sum(axis=1)  # rows of the sequence with the row's item
        items = jnp.where(there, batch.items[other], self.num_items)
        others = total[other] - same  # the row itself is none of its negatives
        log_number = jnp.log(jnp.where(there, others, 0).astype(jnp.float32))
        return src.Listed(items, log_number)


@dataclass(frozen=True)
class Catalogue(src.Source):
    """Every item once: the columns of a full softmax."""

    num_items: int  # size of the catalogue

    def draw(self, memory: dict, key: src.Keys, batch: src.Batch) -> src.Shared:
        """All items, ascending."""
        return src.Shared(jnp.arange(self.num_items, dtype=jnp.int32))

    def counts(
        self, memory: dict, batch: src.Batch, drawn: src.Shared
    ) -> list[src.Count]:
        """An item is expected once."""
        return [src.ByItem("catalogue", lambda items: jnp.zeros(items.shape), 1)]
