"""Columns: the candidates that the rows of a batch are compared with.

A column is an item and the number of draws that it represents: repeated draws can be
one column with their multiplicity, with the same loss and gradient for less work. A
row's own positive is never read from the columns: the loss receives its score apart.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.arrays.distinct import find_distinct


class Columns(NamedTuple):
    """Candidates of a batch of B rows."""

    # [E] int32 items to encode, the first C of which are the columns; num_items pads
    encode_ids: jax.Array
    positive: jax.Array  # [B] int32 index of a row's positive in `encode_ids`
    log_mult: jax.Array  # [C] float32, log of the number of draws; -inf for none
    # [C] int32 item of the column; its index where only a row's own positive is dropped
    key: jax.Array
    row_key: jax.Array  # [B] int32 key of the columns of the row's own item, whose
    own_log_mult: jax.Array  # [B] float32 log number of draws this is; -inf masks them


def _columns_of(
    encode: jax.Array,
    columns: int,
    positive: jax.Array,
    items: jax.Array,
    same_item: bool,
    num_items: int,
) -> Columns:
    """Columns that count once, the first ones of the items to encode."""
    key = encode[:columns]
    return Columns(
        encode_ids=encode,
        positive=positive,
        log_mult=jnp.where(key < num_items, 0.0, -jnp.inf),
        key=key if same_item else jnp.arange(columns, dtype=jnp.int32),
        row_key=items if same_item else positive,
        own_log_mult=jnp.full(items.shape[0], -jnp.inf, jnp.float32),
    )


def separate_columns(
    items: jax.Array,
    drawn: jax.Array,
    *,
    in_batch: bool,
    same_item: bool,
    num_items: int,
) -> Columns:
    """One column per draw: the items of the batch (if in_batch), then the drawn ones.

    With same_item every draw of a row's own item is masked in the row; otherwise only
    the row's own positive is.
    """
    batch, number = items.shape[0], drawn.shape[0]
    positive = jnp.arange(batch, dtype=jnp.int32)
    encode = jnp.concatenate([items, drawn])
    if not in_batch:
        encode, positive = jnp.concatenate([drawn, items]), positive + number
    columns = number + batch * in_batch
    return _columns_of(encode, columns, positive, items, same_item, num_items)


def merged_columns(
    items: jax.Array, drawn: jax.Array, *, same_item: bool, num_items: int
) -> Columns:
    """One column per distinct item of the batch and the draws.

    The loss is that of `separate_columns`: k draws add log k to their column's logit.
    """
    draws = jnp.concatenate([items, drawn])
    size = draws.shape[0]
    distinct, place = merged = find_distinct(draws, size, num_items)
    positive = place[: items.shape[0]]
    mult = jnp.where(distinct < num_items, merged.counts(), 0).astype(jnp.float32)
    columns = _columns_of(distinct, size, positive, items, True, num_items)
    columns = columns._replace(log_mult=jnp.log(mult))
    if same_item:
        return columns
    return columns._replace(own_log_mult=jnp.log(mult[positive] - 1))


def catalogue_columns(items: jax.Array, num_items: int) -> Columns:
    """The whole catalogue as columns: the full softmax."""
    every = jnp.arange(num_items, dtype=jnp.int32)
    return _columns_of(every, num_items, items, items, True, num_items)


def first_columns(columns: Columns, size: int) -> Columns:
    """The first columns of a merged layout."""
    return columns._replace(
        encode_ids=columns.encode_ids[:size],
        log_mult=columns.log_mult[:size],
        key=columns.key[:size],
    )


# Products on accelerators work on tiles of 128 columns.
WIDTH = 128
# One batch in a billion has more distinct items, if their number is normal.
DEVIATIONS = 6


def distinct_of_batch(counts: np.ndarray, batch: int) -> tuple[float, float]:
    """Mean and variance of the number of distinct items in a batch of an epoch.

    The n of N rows are read without replacement. Each is in the batch with p = n / N,
    and e_i = (1 - p)^(c_i) is the probability that no row of item i is. The variance is
    that of independent rows, given n:

      sum_i e_i (1 - e_i) - (sum_i c_i p e_i)^2 / (N p (1 - p))
    """
    # Most items have one of a few counts.
    counts, number = np.unique(np.asarray(counts, np.float64), return_counts=True)
    rows = float(number @ counts)
    part = min(1.0, batch / rows)
    absent = (1 - part) ** counts
    variance = number @ (absent * (1 - absent))
    if spread := rows * part * (1 - part):
        variance -= (number @ (counts * part * absent)) ** 2 / spread
    return float(number @ (1 - absent)), max(float(variance), 0.0)


def merged_size(counts: np.ndarray, batch: int, drawn: int) -> int:
    """Static number of columns of a merged batch, from counts of clicks.

    It is the expected number of distinct items plus `DEVIATIONS`, rounded up to
    `WIDTH`, plus every shared draw. A larger batch is computed at full size.
    """
    mean, variance = distinct_of_batch(counts, batch)
    most = mean + DEVIATIONS * np.sqrt(variance)
    return min(batch, int(np.ceil(most / WIDTH)) * WIDTH) + drawn


def merged_size_of_arms(
    counts: np.ndarray, weights: np.ndarray, batch: int, drawn: int
) -> int:
    """`merged_size`, at least that without resampling: arms share programs by it."""
    return max(merged_size(c, batch, drawn) for c in (counts, counts * weights))
