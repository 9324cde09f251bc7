"""Terms of the loss beside that of the rows: stages, users, views of items."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.data.shards import take_rows
from twotower_jax.losses.blockwise import softmax_loss
from twotower_jax.losses.terms import (
    ColumnTerms,
    PairTerms,
    RowTerms,
    Scores,
    mask_at_or_above,
)
from twotower_jax.model.inputs import Inputs, candidate_inputs
from twotower_jax.model.tower import l2_normalize
from twotower_jax.sampling.hard import hard_stage
from twotower_jax.sampling.masks import MASKS, contains
from twotower_jax.training.correction import row_weights
from twotower_jax.training.draws import Draws
from twotower_jax.training.types import Batch, Program, TrainData, TrainState


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


# --- The softmax over the users of a batch for each item, beside that over the items --


def user_loss(
    program: Program, data: TrainData, batch: Batch, draws: Draws, scores: Scores
) -> jax.Array:
    """Weighted mean of the losses of the items of a batch against its users.

    For row b with user u_b and item i_b and its n - 1 other users,

      -log [ e^{s(u_b, i_b)} / (e^{s(u_b, i_b)} + sum_c e^{s(u_c, i_b)}) ].

    With the users' shares q_u of the rows, log (n - 1) q_u is subtracted from each
    score, that of the row too. Uncorrected users follow q_u, so that the optimum
    log [P(u, i) / q_u] plus a constant per item holds at s = log P(i | u), that of the
    softmax over items. Corrected, it holds at log P(u, i) = log P(i | u) + log P(u).
    Both rank the items of a user alike.

    ``negatives.mask`` masks here: the row alone (none), all rows of its user
    (same_item), and users that clicked the item too (user_positives).

    Returns:
      [] float32.

    References:
      Radford et al., Learning transferable visual models from natural language
      supervision, ICML 2021 (symmetric loss over both sides of a batch).
    """
    users, rows = batch.queries.user, batch.items.shape[0]
    place = jnp.arange(rows, dtype=jnp.int32)
    key = users if MASKS[program.structure.negatives.mask].same_item else place
    zeros, log_count = jnp.zeros(rows, jnp.float32), jnp.zeros(rows, jnp.float32)
    numbers = program.hyper.two_way
    if numbers is not None and numbers.log_q_user is not None:
        log_q = take_rows(numbers.log_q_user, users)
        log_count = log_q + jnp.log(jnp.float32(rows - 1))
    seen = None
    if data.positives is not None:
        every = jnp.broadcast_to(batch.items, (rows, rows))
        seen = contains(data.positives, users, every).T
    none = jnp.zeros((rows, 0), jnp.float32)
    items = scores.columns[draws.columns.positive]
    return softmax_loss(
        Scores(items, scores.query, scores.positive - log_count, none),
        ColumnTerms(zeros, log_count[None, :], key, place),
        RowTerms(
            weight=row_weights(program, data, batch),
            key=key,
            own_log_mult=jnp.full(rows, -jnp.inf, jnp.float32),
            own_log_count=zeros,
            slots=PairTerms(none, none),
            seen=seen,
        ),
    )


# --- The self-supervised loss of items: one view of an item against views of others ---


class Views(NamedTuple):
    """Two views of the items of a step.

    Attributes:
      items: [N] int32.
      inputs: Inputs of the candidate tower for the N first views, then the N second.
    """

    items: jax.Array
    inputs: Inputs


def draw_views(program: Program, data: TrainData, state: TrainState) -> Views | None:
    """Two views of uniform items; None where the loss has no such term.

    A random half of the features is shown in the first view, the others in the second.
    All items of a step are divided alike, so that two items never differ in which of
    their features are missing.

    References:
      Yao et al., Self-supervised learning for large-scale item recommendations, CIKM
      2021 (random feature masking in two exclusive sets; items drawn uniformly, other
      than the clicked items of the main loss).
    """
    number = program.structure.view_num
    if not number:
        return None
    of_items, of_features = jax.random.split(
        keys.stream(program.hyper.seed, "loss.self_supervised", state.step)
    )
    num_items = program.structure.num_items
    items = jax.random.randint(of_items, (number,), 0, num_items, jnp.int32)
    features = len(program.structure.model.candidate.features)
    place = jax.random.permutation(of_features, features)
    first = place < features // 2
    shown = jnp.repeat(jnp.stack([first, ~first]), number, axis=0)
    inputs = candidate_inputs(
        program.structure.model, data.entities, jnp.tile(items, 2), shown
    )
    return Views(items, inputs)


def view_loss(program: Program, items: jax.Array, views: jax.Array) -> jax.Array:
    """Weighted mean softmax loss of the first views against the second.

    For items i and j of the step, with embeddings z of the first and z' of the second
    views,

      L = -1/N sum_i log [ e^{cos(z_i, z'_i) / tau} / sum_j e^{cos(z_i, z'_j) / tau} ],

    where j runs over i itself and the draws of other items.

    Args:
      items: [N] int32.
      views: [2 N, D] embeddings of the first and then of the second views.

    Returns:
      [] float32, times the weight of the loss.

    References:
      Yao et al., CIKM 2021, eq. 2.
    """
    numbers = program.hyper.self_supervised
    if numbers is None:
        raise ValueError("the program has no self-supervised loss")
    rows = items.shape[0]
    first, second = jnp.split(l2_normalize(views), 2)
    first = first / numbers.temperature
    zeros, none = jnp.zeros(rows, jnp.float32), jnp.zeros((rows, 0), jnp.float32)
    place = jnp.arange(rows, dtype=jnp.int32)
    loss = softmax_loss(
        Scores(first, second, (first * second).sum(axis=1), none),
        ColumnTerms(zeros, zeros[None, :], items, place),
        RowTerms(
            weight=jnp.full(rows, 1 / rows, jnp.float32),
            key=items,
            own_log_mult=jnp.full(rows, -jnp.inf, jnp.float32),
            own_log_count=zeros,
            slots=PairTerms(none, none),
            seen=None,
        ),
    )
    return numbers.weight * loss
