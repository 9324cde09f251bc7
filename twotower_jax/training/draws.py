"""The negatives of a batch: columns that its rows share, and slots of each row.

Every row also belongs to a group, rows with a hard pool and rows without one, because
their expected counts differ: a row without a pool draws easy negatives in its place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.losses.rowwise import WHOLE_CATALOGUE
from twotower_jax.sampling import columns as cols
from twotower_jax.sampling.hard import draw_hard, hard_slots, has_pool
from twotower_jax.sampling.proposals import sample
from twotower_jax.training.types import (
    HardRatio,
    Hyper,
    Negatives,
    Structure,
    TrainData,
    TrainState,
)


class RowPools(NamedTuple):
    """Pools of the rows of a batch: items and log probabilities [B, L]."""

    item: jax.Array
    log_prob: jax.Array


class Draws(NamedTuple):
    """The negatives of a batch of B rows.

    Attributes:
      columns: candidates that all rows share.
      slots: [B, K] int32 items of the rows' own slots (num_items: off), or None.
      is_hard: [B, K] bool, whether a hard source drew the slot, or None.
      pools: of the rows, or None.
      group: [B] int32, 0 with a pool and 1 without, or None where there is one group.
      easy_draws, hard_draws: [G] expected draws of a row from each source.
    """

    columns: cols.Columns
    slots: jax.Array | None
    is_hard: jax.Array | None
    pools: RowPools | None
    group: jax.Array | None
    easy_draws: jax.Array
    hard_draws: jax.Array


def draw(
    structure: Structure,
    hyper: Hyper,
    data: TrainData,
    state: TrainState,
    rows: jax.Array,
) -> Draws:
    """Draw the negatives of the positives ``rows`` [B] at the state's step.

    Slots of dns hold the ``hard_num`` x ``candidate_num`` draws: [B, K, candidates];
    the best are chosen by the caller, who can score them.
    """
    items, wanted, step = data.item[rows], structure.negatives, state.step
    if structure.loss in WHOLE_CATALOGUE:
        columns = cols.catalogue_columns(items, structure.num_items)
        none = jnp.zeros(1, jnp.float32)
        return Draws(columns, None, None, None, None, none, none)
    ratio = ratio_at(hyper.hard_ratio, step)
    easy_on, hard_on = switches(wanted, ratio)
    drawn = sample(
        keys.stream(hyper.seed, "negatives.easy", step),
        hyper.easy,
        (wanted.shared_easy,),
    )
    if wanted.mixes and not wanted.per_row:
        key = keys.stream(hyper.seed, "negatives.switch", step)
        on = jax.random.uniform(key, drawn.shape) < easy_on
        drawn = jnp.where(on, drawn, structure.num_items)
    columns = _columns(structure, items, drawn)
    pools = _row_pools(structure, data, state, rows) if wanted.has_pools else None
    slots, is_hard = None, None
    if wanted.slots:
        slots, is_hard = _slots(structure, hyper, step, pools, ratio, hard_on, items)
    easy_draws, hard_draws = expected_draws(wanted, ratio)
    group = None
    if pools is None:
        easy_draws, hard_draws = easy_draws[:1], hard_draws[:1]
    else:
        group = jnp.where(has_pool(pools.log_prob), 0, 1)
    return Draws(columns, slots, is_hard, pools, group, easy_draws, hard_draws)


def ratio_at(ratio: HardRatio, step: jax.Array) -> jax.Array:
    """Return the hard ratio of a step."""
    done = jnp.clip(step.astype(jnp.float32) / jnp.maximum(ratio.steps, 1), 0, 1)
    done = jnp.where(ratio.steps > 0, done, 1)
    return ratio.start + (ratio.end - ratio.start) * done


def switches(wanted: Negatives, ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the chances that an easy column and a hard slot are on (shared layout).

    With m columns and H slots, H b / (m a + H b) = ratio, and one of the chances a and
    b is 1: no more draws are thrown away than the ratio asks for.
    """
    one = jnp.float32(1)
    if not wanted.mixes or wanted.per_row:
        return one, one
    easy, hard = wanted.easy_num * ratio, wanted.hard_num * (1 - ratio)
    # easy < hard: there are more hard slots than the ratio needs.
    easy_on = jnp.where(easy <= hard, 1, hard / jnp.maximum(easy, 1e-30))
    hard_on = jnp.where(hard <= easy, 1, easy / jnp.maximum(hard, 1e-30))
    return easy_on, hard_on


def expected_draws(wanted: Negatives, ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return expected easy and hard draws [2] of rows with a pool and without one."""
    easy, hard = jnp.float32(wanted.easy_num), jnp.float32(wanted.hard_num)
    if wanted.mixes and wanted.per_row:
        easy, hard = wanted.slots * (1 - ratio), wanted.slots * ratio
    else:
        easy_on, hard_on = switches(wanted, ratio)
        easy, hard = easy * easy_on, hard * hard_on
    return jnp.stack([easy, easy + hard]), jnp.stack([hard, jnp.zeros_like(hard)])


def _columns(structure: Structure, items: jax.Array, drawn: jax.Array) -> cols.Columns:
    mask, num_items = structure.negatives.mask, structure.num_items
    if structure.merged_size:
        return cols.merged_columns(items, drawn, mask=mask, num_items=num_items)
    in_batch = structure.negatives.in_batch
    return cols.separate_columns(
        items, drawn, in_batch=in_batch, mask=mask, num_items=num_items
    )


def _row_pools(
    structure: Structure, data: TrainData, state: TrainState, rows: jax.Array
) -> RowPools:
    num_items = structure.num_items
    if structure.negatives.hard_source == "mined":
        item = state.samplers["mined"][data.queries.user[rows]]
        present = item < num_items
        number = present.sum(axis=1, keepdims=True).astype(jnp.float32)
        return RowPools(item, jnp.where(present, -jnp.log(number), -jnp.inf))
    assert data.pools is not None
    pool = jnp.asarray(data.pools.of_row)[rows]
    item, log_prob = jnp.asarray(data.pools.item), jnp.asarray(data.pools.log_prob)
    pool = jnp.where(pool < 0, item.shape[0], pool)
    return RowPools(
        item.at[pool].get(mode="fill", fill_value=num_items),
        log_prob.at[pool].get(mode="fill", fill_value=-jnp.inf),
    )


def _slots(structure, hyper, step, pools, ratio, hard_on, items):
    """Return items of the slots [B, K] (dns: [B, K, candidates]) and is_hard [B, K]."""
    wanted, batch = structure.negatives, items.shape[0]
    shape = (batch, wanted.slots)
    easy_key = keys.stream(hyper.seed, "negatives.slots", step)
    hard_key = keys.stream(hyper.seed, "negatives.hard", step)
    mix_key = keys.stream(hyper.seed, "negatives.mix", step)
    easy = sample(easy_key, hyper.easy, shape)
    if pools is not None:
        hard = draw_hard(hard_key, pools.item, pools.log_prob, wanted.slots)
        able = has_pool(pools.log_prob)
    elif wanted.hard_num:
        hard = sample(hard_key, hyper.easy, (*shape, wanted.candidate_num))
        easy, able = easy[..., None], jnp.ones(batch, bool)
    else:
        return easy, jnp.zeros(shape, bool)
    if wanted.mixes and wanted.per_row:
        is_hard = hard_slots(mix_key, shape, jnp.where(able, ratio, 0))
    else:
        first_hard = wanted.slots - wanted.hard_num
        is_hard = (jnp.arange(wanted.slots) >= first_hard)[None, :] & able[:, None]
    chosen = is_hard if pools is not None else is_hard[..., None]
    slots = jnp.where(chosen, hard, easy)
    if wanted.mixes and not wanted.per_row:
        on = jax.random.uniform(mix_key, shape) < hard_on
        on = on if pools is not None else on[..., None]
        slots = jnp.where(on, slots, structure.num_items)
    return slots, is_hard
