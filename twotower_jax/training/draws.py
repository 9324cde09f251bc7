"""The negatives of a batch: columns that its rows share, and slots of each row.

A row with an empty pool draws easy negatives in place of the hard ones, so that its
expected counts differ from those of the other rows: the rows of a batch form groups.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.model.inputs import Inputs
from twotower_jax.sampling import columns as cols
from twotower_jax.sampling.hard import hard_slots, has_pool
from twotower_jax.sampling.masks import MASKS
from twotower_jax.sampling.proposals import sample
from twotower_jax.training.easy_draws import draw_easy, log_mass
from twotower_jax.training.hard_sources import HARD_SOURCES
from twotower_jax.training.own_rows import OwnRows, own_rows
from twotower_jax.training.slots import HardDraws, RowPools, Slots
from twotower_jax.training.types import (
    Batch,
    HardRatio,
    Negatives,
    Program,
    TrainData,
    TrainState,
)


class RowGroups(NamedTuple):
    """Groups of rows that draw alike: those with a pool (0), those without one (1).

    Attributes:
      easy: [G] expected easy draws of a row by group.
      hard: [G] expected hard draws of a row by group.
      has_pool: [B] bool, or None where all rows are alike (G = 1).
    """

    easy: jax.Array
    hard: jax.Array
    has_pool: jax.Array | None = None

    @property
    def of_row(self) -> jax.Array | None:
        """Group of each row [B] int32, or None where all rows are alike."""
        return None if self.has_pool is None else jnp.where(self.has_pool, 0, 1)


class Draws(NamedTuple):
    """The negatives of a batch of B rows.

    Attributes:
      columns: Candidates that all rows share.
      slots: Candidates of each row, or None where rows have no slots.
      groups: Expected draws of the rows.
      log_mass: [B] log of the mass of the items to which the easy draws of a row are
        restricted; None where they are not.
      own: Rows of the rows' own sequences; None where these are not columns.
    """

    columns: cols.Columns
    slots: Slots | None
    groups: RowGroups
    log_mass: jax.Array | None = None
    own: OwnRows | None = None


def draw(program: Program, data: TrainData, state: TrainState, batch: Batch) -> Draws:
    """Draw the negatives of a batch at the state's step.

    Returns:
      The negatives. The slots of a source that scores candidates (dns) are still to be
      chosen: their items are [B, K, M].
    """
    structure = program.structure
    negatives, num_items = structure.negatives, structure.num_items
    if structure.loss.whole_catalogue:
        zero = jnp.zeros(1, jnp.float32)
        columns = cols.catalogue_columns(batch.items, num_items)
        return Draws(columns, None, RowGroups(zero, zero))
    ratio = ratio_at(program.hyper.hard_ratio, state.step)
    columns = _draw_columns(program, state.step, batch, ratio)
    mass, own = log_mass(program, data, batch), own_rows(program, batch)
    if not negatives.slots:
        return Draws(columns, None, row_groups(negatives, ratio, None), mass, own)
    key = keys.stream(program.hyper.seed, "negatives.slots", state.step)
    easy = draw_easy(program, data, batch, key, (batch.items.shape[0], negatives.slots))
    if not negatives.hard_num:
        slots = Slots(easy, jnp.zeros(easy.shape, bool), None)
        return Draws(columns, slots, row_groups(negatives, ratio, None), mass, own)
    source = HARD_SOURCES[negatives.hard_source]
    hard = source.draw(program, data, state, batch)
    groups = row_groups(negatives, ratio, None if source.scored else hard.pool)
    slots = _mix_slots(program, state.step, ratio, groups, easy, hard)
    return Draws(columns, slots, groups, mass, own)


def choose(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    queries: Inputs,
    draws: Draws,
) -> Draws:
    """Fill the slots, where the hard source scores candidates (dns, resampled).

    Returns:
      The negatives, with slots [B, K].
    """
    if draws.slots is None:
        return draws
    source = HARD_SOURCES[program.structure.negatives.hard_source]
    slots = source.choose(program, data, state, batch, queries, draws.slots)
    return draws._replace(slots=slots)


def ratio_at(ratio: HardRatio, step: jax.Array) -> jax.Array:
    """Hard ratio of a step.

    Args:
      step: [] int32.

    Returns:
      [] float32.

    Examples:
      >>> schedule = HardRatio(*jnp.array([1.0, 0.5, 4.0]))
      >>> [float(ratio_at(schedule, jnp.int32(step))) for step in (0, 1, 4, 9)]
      [1.0, 0.875, 0.5, 0.5]
    """
    done = jnp.clip(step.astype(jnp.float32) / jnp.maximum(ratio.steps, 1), 0, 1)
    done = jnp.where(ratio.steps > 0, done, 1)
    return ratio.start + (ratio.end - ratio.start) * done


class Switches(NamedTuple):
    """Chances that a draw counts.

    Attributes:
      easy: [] chance of an easy column.
      hard: [] chance of a hard slot.
    """

    easy: jax.Array
    hard: jax.Array


def switches(negatives: Negatives, ratio: jax.Array) -> Switches:
    """Chances that an easy column and a hard slot are on, in the shared layout.

    With m columns and H slots, the chances a and b satisfy H b / (m a + H b) = ratio,
    and one of them is 1, so that no more draws are switched off than the ratio needs.

    Args:
      ratio: [] hard ratio.

    Examples:
      >>> negatives = Negatives(easy_num=6, hard_num=2, mixes=True)
      >>> chances = switches(negatives, jnp.float32(0.5))
      >>> round(float(chances.easy), 4), float(chances.hard)  # 2 of 6 columns, 2 of 2
      (0.3333, 1.0)
    """
    one = jnp.float32(1)
    if not negatives.switched:
        return Switches(one, one)
    easy, hard = negatives.easy_num * ratio, negatives.hard_num * (1 - ratio)
    # easy < hard: there are more hard slots than the ratio needs.
    return Switches(
        easy=jnp.where(easy <= hard, 1, hard / jnp.maximum(easy, 1e-30)),
        hard=jnp.where(hard <= easy, 1, easy / jnp.maximum(hard, 1e-30)),
    )


def row_groups(
    negatives: Negatives, ratio: jax.Array, pool: RowPools | None
) -> RowGroups:
    """Groups of rows with their expected draws.

    Args:
      ratio: [] hard ratio.
      pool: Pools of the rows; None: every row can draw hard negatives.

    Examples:
      >>> pool = RowPools(jnp.array([[7], [9]]), jnp.array([[0.0], [-jnp.inf]]))
      >>> negatives = Negatives(easy_num=6, hard_num=2)
      >>> groups = row_groups(negatives, jnp.float32(0), pool)
      >>> groups.easy.tolist(), groups.hard.tolist(), groups.of_row.tolist()
      ([6.0, 8.0], [2.0, 0.0], [0, 1])
    """
    if negatives.mixes and negatives.per_row:
        easy, hard = negatives.slots * (1 - ratio), negatives.slots * ratio
    else:
        on = switches(negatives, ratio)
        easy = jnp.float32(negatives.easy_num) * on.easy
        hard = jnp.float32(negatives.hard_num) * on.hard
    if pool is None:
        return RowGroups(easy[None], hard[None])
    return RowGroups(
        jnp.stack([easy, easy + hard]),
        jnp.stack([hard, jnp.zeros_like(hard)]),
        has_pool(pool.log_prob),
    )


def _draw_columns(
    program: Program, step: jax.Array, batch: Batch, ratio: jax.Array
) -> cols.Columns:
    """Return the columns: the items of the batch and the shared easy draws."""
    structure, hyper = program.structure, program.hyper
    negatives, num_items = structure.negatives, structure.num_items
    key = keys.stream(hyper.seed, "negatives.easy", step)
    drawn = sample(
        key, hyper.easy, (negatives.shared_easy,), program.structure.num_items
    )
    if negatives.switched:
        key = keys.stream(hyper.seed, "negatives.switch", step)
        on = jax.random.uniform(key, drawn.shape) < switches(negatives, ratio).easy
        drawn = jnp.where(on, drawn, num_items)
    same_item = MASKS[negatives.mask].same_item
    if negatives.distinct or structure.merged_size:
        once = negatives.distinct
        make = cols.distinct_columns if once else cols.merged_columns
        return make(batch.items, drawn, same_item=same_item, num_items=num_items)
    return cols.separate_columns(
        batch.items,
        drawn,
        in_batch=negatives.in_batch,
        same_item=same_item,
        num_items=num_items,
    )


def _mix_slots(
    program: Program,
    step: jax.Array,
    ratio: jax.Array,
    groups: RowGroups,
    easy: jax.Array,
    hard: HardDraws,
) -> Slots:
    """Return slots of hard and easy draws, some of them switched off.

    In the layout per row each slot is hard with chance ``ratio``. Otherwise the last
    ``hard_num`` slots are hard.
    """
    negatives = program.structure.negatives
    shape = (easy.shape[0], negatives.slots)
    has_hard = groups.has_pool
    if has_hard is None:
        has_hard = jnp.ones(shape[0], bool)
    key = keys.stream(program.hyper.seed, "negatives.mix", step)
    if negatives.mixes and negatives.per_row:
        is_hard = hard_slots(key, shape, jnp.where(has_hard, ratio, 0))
    else:
        last = jnp.arange(negatives.slots) >= negatives.slots - negatives.hard_num
        is_hard = last[None, :] & has_hard[:, None]
    items = jnp.where(_like(is_hard, hard.items), hard.items, _like(easy, hard.items))
    if negatives.switched:
        on = jax.random.uniform(key, shape) < switches(negatives, ratio).hard
        items = jnp.where(_like(on, items), items, program.structure.num_items)
        is_hard &= on
    return Slots(items, is_hard, hard.pool)


def _like(values: jax.Array, items: jax.Array) -> jax.Array:
    """Return values [B, K], with an axis of candidates if items are [B, K, M]."""
    return values[..., None] if items.ndim > values.ndim else values
