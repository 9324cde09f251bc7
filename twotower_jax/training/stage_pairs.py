"""The pairwise loss between the stages of the funnel, of the slots of a row."""

import jax
import jax.numpy as jnp

from twotower_jax.losses.terms import RowTerms, Scores, mask_at_or_above
from twotower_jax.sampling.hard import hard_stage
from twotower_jax.training.draws import Draws
from twotower_jax.training.types import Program


def stage_loss(
    program: Program, draws: Draws, scores: Scores, rows: RowTerms
) -> jax.Array:
    """Weighted mean over the rows of the pairs of their slots from two stages.

    With g_k the stage that rejected the item of slot k, later stages above earlier ones
    and easy slots below all, and with Z pairs in a row,

      (1 / Z) sum_{k, l: g_k > g_l} log(1 + e^{s_l - s_k});

    0 for a row without a pair. The scores are those of training over the temperature,
    without log q. Masked slots are in no pair. The pairs of the positive and the slots
    are those of the loss itself.

    Returns:
      [] float32.

    References:
      Liu et al., RecFlow: An industrial full flow recommendation dataset, ICLR 2025
      (FS-LTR: pairs of all stages, those with the positive among them).
    """
    slots, negatives = draws.slots, program.structure.negatives
    if slots is None or slots.pool is None or slots.pool.stage is None:
        raise ValueError("pairs of stages need slots from the pools of a log")
    stage = hard_stage(slots.pool.item, slots.pool.stage, slots.items)
    stage = jnp.where(slots.is_hard, stage, -1)
    # Where slots do not mix, the last ones alone are hard: the others are below them.
    first = 0 if negatives.mixes else negatives.slots - negatives.hard_num
    raw = jax.lax.stop_gradient(scores.slots)
    terms = mask_at_or_above(rows.limit, raw, rows.slots.log_mult)
    kept = terms > -jnp.inf
    above = stage[:, first:, None] > stage[:, None, :]
    above &= kept[:, first:, None] & kept[:, None, :]
    lead = scores.slots[:, first:, None] - scores.slots[:, None, :]
    pairs = jnp.where(above, jax.nn.softplus(-lead), 0).sum(axis=(1, 2))
    each = pairs / jnp.maximum(above.sum(axis=(1, 2)), 1)
    return (rows.weight * each).sum()
