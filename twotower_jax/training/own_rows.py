"""Rows of the same sequence: negatives that stand in the batch for certain.

Where sequences stand end to end in a batch, the other positives of a row's user are
columns with it whenever the row is, and the expected count of their items is their
number, not (n - 1) q+.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.model.tokens import sequence_codes
from twotower_jax.sampling.masks import MASKS
from twotower_jax.training.slots import RowPools
from twotower_jax.training.types import Batch, Program


class OwnRows(NamedTuple):
    """Rows of the sequences of a batch.

    Attributes:
      number: [] mean over the rows of the number of rows of their sequences.
      pool: Items of the other rows of each row's sequence, with the log of the number
        of those that have the item; None where the mask leaves them out.
    """

    number: jax.Array
    pool: RowPools | None


def own_rows(program: Program, batch: Batch) -> OwnRows | None:
    """Rows of the sequences of a batch, None where they are not negatives.

    Returns:
      The rows, with pools [B, 2 L - 2] for sequences of at most L rows.
    """
    structure, queries = program.structure, batch.queries
    history = structure.model.query.history
    if not (structure.end_to_end and structure.negatives.in_batch):
        return None
    if history is None or queries.begin is None or queries.end is None:
        return None
    length, rows = history.length, batch.items.shape[0]
    code = sequence_codes(queries.begin, queries.end)
    row = jnp.arange(rows, dtype=jnp.int32)
    steps = [step for step in range(1 - length, length) if step]
    other = row[:, None] + jnp.array(steps, jnp.int32)[None, :]
    there = (other >= 0) & (other < rows)
    other = jnp.clip(other, 0, rows - 1)
    there &= code[other] == code[:, None]
    number = 1 + there.sum(axis=1).mean(dtype=jnp.float32)
    if MASKS[structure.negatives.mask].user_positives:
        return OwnRows(number, None)
    same = there & (batch.items[other] == batch.items[:, None])
    total = 1 + same.sum(axis=1)  # rows of the sequence with the row's item
    items = jnp.where(there, batch.items[other], structure.num_items)
    # The row itself is none of its negatives.
    others = total[other] - same
    log_number = jnp.log(jnp.where(there, others, 0).astype(jnp.float32))
    return OwnRows(number, RowPools(items, log_number))


def other_rows(own: OwnRows | None, batch_size: int) -> int | jax.Array:
    """Number of rows of a batch whose items are draws from q+ for a row.

    Args:
      own: Rows of the rows' own sequences, or None.

    Returns:
      n - 1, or with sequences n less the mean number of rows of a row's sequence. A
      batch of one sequence alone counts as having one other row, as the next batch of
      that sequence may: the log of an expected count of 0 would be -inf.
    """
    return batch_size - 1 if own is None else jnp.maximum(batch_size - own.number, 1)


def own_items(
    own: OwnRows | None, log_once: Callable[[jax.Array], jax.Array] | None
) -> RowPools | None:
    """Items of each row's own sequence with the logs of their expected counts.

    Args:
      own: Rows of the rows' own sequences, or None.
      log_once: Function from items to the log probability that another row has it,
        where an item counts once per batch: the count of an own item is then the rest
        to 1. None where it counts for every row that has it.

    Returns:
      The items, or None where they are not negatives.
    """
    if own is None or own.pool is None or log_once is None:
        return None if own is None else own.pool
    pool = own.pool
    # Padding reads the count of some item.
    rest = jnp.log1p(-jnp.exp(log_once(pool.item)))
    return pool._replace(log_prob=jnp.where(pool.log_prob >= 0, rest, -jnp.inf))
