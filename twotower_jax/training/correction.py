"""Masks and corrections of a batch: the terms of its columns, rows and slots.

The logit of a negative is its score over the temperature minus the log of its expected
count in the row (logQ). A masked negative stands for no draw.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.data.shards import take, take_rows
from twotower_jax.losses.terms import (
    ColumnTerms,
    PairTerms,
    PoolTerms,
    RowTerms,
    tempered,
)
from twotower_jax.sampling.distinct import Distinct, find_distinct
from twotower_jax.sampling.masks import MASKS, seen_places
from twotower_jax.training.draws import Draws
from twotower_jax.training.expected_counts import (
    Mixture,
    bank_counts,
    column_counts,
    negative_mixture,
    row_counts,
    used_entries,
)
from twotower_jax.training.log_q import CORRECTIONS, HARD_LOG_Q
from twotower_jax.training.row_masks import masked_items, unknown_items
from twotower_jax.training.slots import Slots
from twotower_jax.training.types import (
    Batch,
    Program,
    Structure,
    TrainData,
    TrainState,
)

# Key of bank entries where rows mask no item: no row has it.
NO_KEY = -2


class Terms(NamedTuple):
    """Masks and corrections of the scores of a batch.

    Attributes:
      columns: Terms of the columns.
      rows: Terms of the rows and their slots.
      positive: [B] term of the positive.
    """

    columns: ColumnTerms
    rows: RowTerms
    positive: jax.Array


def batch_terms(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    draws: Draws,
) -> Terms:
    """Masks and corrections of a batch."""
    mixture = negative_mixture(program, state, draws, batch.items.shape[0])
    drawn = draws.columns
    items = drawn.encode_ids[: drawn.log_mult.shape[0]]
    log_count = column_counts(mixture, items)
    strength = program.hyper.logq_strength
    columns = ColumnTerms(drawn.log_mult, log_count, drawn.key, None, strength)
    has_bank = "bank" in state.samplers
    if has_bank:
        items = jnp.concatenate([items, state.samplers["bank"].item])
        columns = _append_bank(program, state, columns, mixture)
    own = row_counts(mixture, batch.items[:, None])[:, 0]
    rows = RowTerms(
        weight=row_weights(program, data, batch),
        key=drawn.row_key,
        own_log_mult=drawn.own_log_mult,
        own_log_count=own,
        slots=_slot_terms(program, data, batch, draws.slots, mixture),
        group=None if mixture is None else mixture.of_row,
    )
    has_pools = mixture is not None and mixture.pool is not None
    has_own = mixture is not None and mixture.own is not None
    by_row = data.positives is not None or data.known is not None
    if items.shape[0] and (has_pools or has_own or by_row):
        ascending = columns_ascend(program.structure) and not has_bank
        distinct = _distinct_items(program.structure, items, ascending)
        columns = columns._replace(place=None if ascending else distinct.place)
        # Entries of a bank have counts of earlier steps.
        if (has_pools or has_own) and not has_bank:
            columns = columns._replace(first=_first_columns(distinct))
        rows = rows._replace(
            seen=_seen(data, batch, distinct),
            pool=_pool_terms(mixture, distinct),
            own=_own_terms(mixture, distinct),
        )
    corrected = CORRECTIONS[program.structure.correct].positive
    shift = -tempered(own, strength) if corrected else jnp.zeros_like(own)
    return Terms(columns, rows, shift)


def _append_bank(
    program: Program, state: TrainState, columns: ColumnTerms, mixture: Mixture | None
) -> ColumnTerms:
    """Return the terms of the columns followed by those of the bank's entries."""
    structure, bank = program.structure, state.samplers["bank"]
    used = (bank.item < structure.num_items) & (used_entries(program, state) > 0)
    key = bank.item
    if not MASKS[structure.negatives.mask].same_item:
        key = jnp.full_like(key, NO_KEY)
    return columns._replace(
        log_mult=jnp.concatenate([columns.log_mult, jnp.where(used, 0.0, -jnp.inf)]),
        log_count=jnp.concatenate(
            [columns.log_count, bank_counts(mixture, bank)], axis=1
        ),
        key=jnp.concatenate([columns.key, key]),
    )


def row_weights(program: Program, data: TrainData, batch: Batch) -> jax.Array:
    """Weights of the rows of a batch.

    They sum to 1. With weights r of the log, a row weighs r_i / B, as in the loss
    -(1/B) sum_i r_i log P(y_i | x_i), with r scaled to the mean 1 over an epoch. They
    then sum to 1 over many batches alone, and a batch of zeros has the loss 0.

    Returns:
      [B] float32.

    References:
      Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, eq. 4.
    """
    if data.weight is not None:
        return take_rows(data.weight, batch.rows) / batch.items.shape[0]
    weight = jnp.ones(batch.items.shape, jnp.float32)
    if program.hyper.positive_weight is not None:
        weight = take(program.hyper.positive_weight, batch.items)
    return weight / weight.sum()


def columns_ascend(structure: Structure) -> bool:
    """Return whether the items of the columns are distinct and sorted, padding last."""
    merged = structure.merged_size > 0 and not structure.negatives.distinct
    return merged or structure.loss.whole_catalogue


def _distinct_items(structure: Structure, items: jax.Array, ascend: bool) -> Distinct:
    """Return the distinct items of the columns [C], which may be these themselves."""
    number = items.shape[0]
    if ascend:
        return Distinct(items, jnp.arange(number, dtype=jnp.int32))
    # Padding behind num_items, the id of columns that hold no item.
    return find_distinct(items, number, structure.num_items + 1)


def _first_columns(distinct: Distinct) -> jax.Array:
    """Return the first column of each distinct item, [C] int32; C behind the last."""
    number = distinct.place.shape[0]
    columns = jnp.arange(number, dtype=jnp.int32)
    return jnp.full_like(columns, number).at[distinct.place].min(columns)


def _seen(data: TrainData, batch: Batch, distinct: Distinct) -> jax.Array | None:
    """Return which items are masked in a row, [B, C] bool; None where none is.

    They are the positives of the row's user, and items that it does not know yet.
    """
    seen = None
    if data.positives is not None:
        seen = seen_places(data.positives, batch.queries.user, distinct.ids)
    if data.known is not None:
        unknown = unknown_items(data.known, batch, distinct.ids[None, :])
        seen = unknown if seen is None else seen | unknown
    return seen


def _pool_terms(mixture: Mixture | None, distinct: Distinct) -> PoolTerms | None:
    """Return the expected draws of the columns' items from the rows' pools."""
    if mixture is None or mixture.pool is None:
        return None
    return PoolTerms(
        _places_of(distinct, mixture.pool.item, mixture.num_items),
        mixture.pool.log_prob + jnp.log(mixture.hard_draws),
    )


def _own_terms(mixture: Mixture | None, distinct: Distinct) -> PoolTerms | None:
    """Return the number of rows of each row's own sequence that have an item."""
    if mixture is None or mixture.own is None:
        return None
    own = mixture.own
    return PoolTerms(_places_of(distinct, own.item, mixture.num_items), own.log_prob)


def _places_of(distinct: Distinct, item: jax.Array, num_items: int) -> jax.Array:
    """Return places of items [B, L] among those of the columns; C for none of them."""
    number = distinct.ids.shape[0]
    place = jnp.minimum(jnp.searchsorted(distinct.ids, item), number - 1)
    # Padding has the id num_items, which padding of merged columns has too.
    present = (distinct.ids[place] == item) & (item < num_items)
    return jnp.where(present, place, number).astype(jnp.int32)


def _slot_terms(
    program: Program,
    data: TrainData,
    batch: Batch,
    slots: Slots | None,
    mixture: Mixture | None,
) -> PairTerms:
    """Return the terms of the slots [B, K]; K is 0 where rows have none."""
    if slots is None:
        none = jnp.zeros((batch.items.shape[0], 0), jnp.float32)
        return PairTerms(none, none)
    negatives = program.structure.negatives
    masked = masked_items(program, data, batch, slots.items)
    log_count = tempered(row_counts(mixture, slots.items), program.hyper.logq_strength)
    if not HARD_LOG_Q[negatives.log_q].corrected:
        log_count = jnp.where(slots.is_hard, 0, log_count)
    return PairTerms(
        log_mult=jnp.where(masked, -jnp.inf, 0.0),
        log_count=jnp.where(masked, 0, log_count),
    )
