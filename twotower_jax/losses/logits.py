"""Arguments of a batch's loss: scores, and the terms that correct and mask them.

A batch of B rows has C columns (candidates that all rows share) and K slots per row.
The logit of a pair is its score minus the log of the expected count of the item in the
row, plus the log of the number of draws that the pair stands for.
"""

from __future__ import annotations

from typing import NamedTuple

from twotower_jax.lazy import jax, jnp


class Scores(NamedTuple):
    """Scores of B rows, or the arrays behind them; gradients flow to all of them."""

    query: jax.Array  # [B, D] query embeddings over the temperature
    columns: jax.Array  # [C, D] candidate embeddings of the columns
    positive: jax.Array  # [B] logit of the row's positive
    slots: jax.Array  # [B, K] scores of the row's slots; K is 0 where rows have none


class PairTerms(NamedTuple):
    """Terms of pairs of a row and a negative, in logs."""

    log_mult: jax.Array  # [B, n] log of the number of draws of it; -inf masks it
    log_count: jax.Array  # [B, n] log of its expected count; 0 corrects nothing

    @property
    def bias(self) -> jax.Array:
        """Log number of draws minus `log_count`, [B, n]; -inf masks a pair."""
        return self.log_mult - self.log_count


class ColumnTerms(NamedTuple):
    """Terms of the C columns."""

    log_mult: jax.Array  # [C] log of the number of draws of a column; -inf for none
    log_count: jax.Array  # [G, C] log of the expected count by group of rows
    key: jax.Array  # [C] int32 item of the column
    # ([C] int32 place of the column's item among the U distinct items of `ListedTerms`
    # and `RowTerms.seen`,); () where column c has the c-th of them
    place: tuple[jax.Array, ...] = ()
    strength: tuple[jax.Array, ...] = ()  # ([] factor of log counts,); () for 1
    # ([C] int32 first column of each distinct item,), of whose columns all have one
    # `log_count`; () where they may differ
    first: tuple[jax.Array, ...] = ()


class ListedTerms(NamedTuple):
    """Counts that B rows list, as those of pools; an item has one count in a row."""

    # [B, L] int32 places among the U distinct items of the columns; C for none of them
    place: jax.Array
    log_count: jax.Array  # [B, L] log of the expected draws of the item


class RowTerms(NamedTuple):
    """Terms of B rows."""

    weight: jax.Array  # [B] weight of the row in the sum of losses
    key: jax.Array  # [B] int32 the row's own item
    own_log_mult: jax.Array  # [B] that of the columns of the own item
    own_log_count: jax.Array  # [B] the same of `log_count`
    slots: PairTerms  # [B, K] terms of the row's slots
    group: tuple[jax.Array, ...] = ()  # ([B] int32 group,); () where all are in one
    listed: tuple[ListedTerms, ...] = ()  # counts that are added to the columns'
    seen: tuple[jax.Array, ...] = ()  # ([B, U] bool, items masked in the row,)
    limit: tuple[jax.Array, ...] = ()  # ([B] raw score from which on they are masked,)


def tempered(log_count: jax.Array, strength: tuple[jax.Array, ...]) -> jax.Array:
    """Return lambda log N, which a tempered correction subtracts: s - lambda log N.

    References:
      Menon et al., Long-tail learning via logit adjustment, ICLR 2021 (tau is lambda).
    """
    for factor in strength:
        log_count = jnp.where(jnp.isneginf(log_count), -jnp.inf, factor * log_count)
    return log_count


def column_terms(columns: ColumnTerms, rows: RowTerms) -> PairTerms:
    """Terms [b, C] of the pairs of rows and columns."""
    shape = rows.key.shape[0], columns.key.shape[0]
    log_count = jnp.broadcast_to(columns.log_count[0], shape)
    for group in rows.group:
        log_count = columns.log_count[group]
    for listed in rows.listed:
        log_count = _with_listed(columns, log_count, listed)
    own = columns.key[None, :] == rows.key[:, None]
    log_mult = jnp.where(own, rows.own_log_mult[:, None], columns.log_mult[None, :])
    for seen in rows.seen:
        log_mult = jnp.where(_by_column(seen, columns), -jnp.inf, log_mult)
    log_count = jnp.where(own, rows.own_log_count[:, None], log_count)
    log_count = tempered(log_count, columns.strength)
    # A masked pair has count 1: an item of count 0 stays masked and is never nan.
    return PairTerms(log_mult, jnp.where(jnp.isneginf(log_mult), 0, log_count))


def _with_listed(
    columns: ColumnTerms, log_count: jax.Array, listed: ListedTerms
) -> jax.Array:
    """Return log(e^log_count + e^listed) [b, C], of the listed count of each column."""
    number, size = log_count.shape
    line, counts = jnp.arange(number)[:, None], listed.log_count
    for first in columns.first:  # L sums per row, and not C
        there = log_count[line, first.at[listed.place].get(mode="clip")]
        counts = jnp.logaddexp(there, counts)
    table = jnp.full((number, size + 1), -jnp.inf, log_count.dtype)
    table = table.at[line, listed.place].set(counts, mode="drop")
    of_columns = _by_column(table[:, :size], columns)
    if columns.first:
        return jnp.where(jnp.isneginf(of_columns), log_count, of_columns)
    return jnp.logaddexp(log_count, of_columns)


def _by_column(values: jax.Array, columns: ColumnTerms) -> jax.Array:
    """Return values [b, U] of distinct items as those of the columns, [b, C]."""
    for place in columns.place:
        values = values[:, place]
    return values


def mask_at_or_above(
    limit: tuple[jax.Array, ...], scores: jax.Array, terms: jax.Array
) -> jax.Array:
    """Terms of negatives, -inf for those that score at their row's limit or above."""
    for highest in limit:
        terms = jnp.where(scores < highest[:, None], terms, -jnp.inf)
    return terms


def keep_top_k(scores: jax.Array, k: int) -> jax.Array:
    """Whether each column is among the k >= 1 best raw scores of its row, [B, C] bool.

    Exactly k columns of a row are kept; equal scores (-0.0 equals 0.0): the lower
    column. A score of -inf is a masked column and never kept.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    rows, columns = scores.shape
    scores = jnp.where(scores == 0, 0, scores)  # top_k would put -0.0 below 0.0
    _, best = jax.lax.top_k(scores, min(k, columns))
    row = jnp.arange(rows, dtype=jnp.int32)[:, None]
    best_of_row = jnp.zeros(scores.shape, bool).at[row, best].set(True)
    return best_of_row & (scores > -jnp.inf)
