"""Tokens of sequences: the items that a transformer reads, in blocks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.negatives.in_batch import sequence_codes

# Sequence of tokens without one: context before the first sequence, and padding.
NO_SEQUENCE = -1


class Tokens(NamedTuple):
    """Places of N blocks of W tokens, of which E are the newest of a query.

    Attributes:
      place: [N, W] int32 place in the sequence, 0 the oldest; W - 1 at most.
      sequence: [N, W] int32 code of the sequence, neighbours differ; `NO_SEQUENCE` for
        tokens that are not read.
      newest: [E] int32 places of the newest tokens of the queries among the N W.
      present: [E] bool, False for a query without an item.
    """

    place: jax.Array
    sequence: jax.Array
    newest: jax.Array
    present: jax.Array


def whole_sequences(present: jax.Array) -> Tokens:
    """Places of the tokens of queries, each with a block of its own.

    Args:
      present: [E, W] bool, whether a place holds an item; the oldest item first.

    Examples:
      >>> tokens = whole_sequences(jnp.array([[False, True, True], [False] * 3]))
      >>> tokens.place[0].tolist(), tokens.newest.tolist(), tokens.present.tolist()
      ([0, 0, 1], [2, 5], [True, False])
    """
    number, width = present.shape
    place = jnp.maximum(jnp.cumsum(present, axis=1, dtype=jnp.int32) - 1, 0)
    last = width - 1 - jnp.argmax(present[:, ::-1], axis=1).astype(jnp.int32)
    return Tokens(
        place=place,
        sequence=jnp.where(present, 0, NO_SEQUENCE),
        newest=jnp.arange(number, dtype=jnp.int32) * width + last,
        present=present.any(axis=1),
    )


class Stream(NamedTuple):
    """Tokens of the rows of a batch, of sequences end to end.

    Attributes:
      at: [T] int32 places of their items among the items of all histories; -1 for a
        token without one.
      tokens: their places, in blocks.
    """

    at: jax.Array
    tokens: Tokens


def stream_tokens(begin: jax.Array, end: jax.Array, width: int) -> Stream:
    """Tokens of rows that are the items of sequences in their order, end to end.

    Row i predicts the item at place end_i from those at begin_i .. end_i - 1, of which
    there are at most ``width``, and adds one token: the item at end_i - 1. Where the
    batch cuts the sequence of its first row, the earlier tokens of that sequence stand
    in the block in front of the rows.

    Args:
      begin: [B] int32 places of the first items of the rows' sequences.
      end: [B] int32 places behind the last items that the rows may see.

    Examples:
      >>> stream = stream_tokens(jnp.array([0, 3]), jnp.array([2, 4]), 2)
      >>> stream.at.tolist()  # place 0 is context: the batch cuts its sequence
      [-1, 0, 1, 3]
      >>> stream.tokens.place.tolist(), stream.tokens.newest.tolist()
      ([[0, 0], [1, 0]], [2, 3])
    """
    rows = end.shape[0]
    at = end - 1
    earlier = at[0] - width + jnp.arange(width, dtype=jnp.int32)
    read = earlier >= begin[0]
    padding = jnp.full(-rows % width, -1, jnp.int32)

    def blocks(context: jax.Array, of_rows: jax.Array) -> jax.Array:
        parts = [context, of_rows, padding]
        return jnp.concatenate(parts).astype(jnp.int32).reshape(-1, width)

    place = blocks(jnp.where(read, earlier - begin[0], 0), at - begin)
    tokens = Tokens(
        place=jnp.maximum(place, 0),
        sequence=blocks(jnp.where(read, 0, NO_SEQUENCE), sequence_codes(begin, end)),
        newest=width + jnp.arange(rows, dtype=jnp.int32),
        present=jnp.ones(rows, bool),
    )
    return Stream(blocks(jnp.where(read, earlier, -1), at).reshape(-1), tokens)
