"""Terms of the loss beside that of the rows: stages, users, views of items."""

from dataclasses import dataclass
from typing import Any, NamedTuple

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
from twotower_jax.negatives.masks import contains
from twotower_jax.negatives.pools import hard_stage
from twotower_jax.training.sources import row_masks, row_weights
from twotower_jax.training.types import Program, TrainData, TrainState


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StagePairs:
    """The pairs of a row's slots from two stages of the log.

    With g_k the stage that rejected the item of slot k, later stages above earlier ones
    and easy slots below all, and with Z pairs in a row,

      (1 / Z) sum_{k, l: g_k > g_l} log(1 + e^{s_l - s_k});

    0 for a row without a pair. The scores are those of training over the temperature,
    without log q. Masked slots are in no pair. The pairs of the positive and the slots
    are those of the loss itself.

    Attributes:
      weight: [] its weight beside the loss of the rows.

    References:
      Liu et al., RecFlow: An industrial full flow recommendation dataset, ICLR 2025
      (FS-LTR: pairs of all stages, those with the positive among them).
    """

    weight: Any

    def of_scores(self, context: Any, scores: Scores, rows: RowTerms) -> jax.Array:
        """Weighted mean over the rows, [] float32."""
        slots, negatives = context.draws.slots, context.program.structure.negatives
        stage = hard_stage(slots.pool.item, slots.pool.stage, slots.items)
        stage = jnp.where(slots.is_hard, stage, -1)
        # Where slots do not mix, the last ones alone are hard: others are below them.
        first = 0 if negatives.mixes else negatives.slots - negatives.hard_num
        raw = jax.lax.stop_gradient(scores.slots)
        terms = mask_at_or_above(rows.limit, raw, rows.slots.log_mult)
        kept = terms > -jnp.inf
        above = stage[:, first:, None] > stage[:, None, :]
        above &= kept[:, first:, None] & kept[:, None, :]
        lead = scores.slots[:, first:, None] - scores.slots[:, None, :]
        pairs = jnp.where(above, jax.nn.softplus(-lead), 0).sum(axis=(1, 2))
        each = pairs / jnp.maximum(above.sum(axis=(1, 2)), 1)
        return self.weight * (rows.weight * each).sum()


# --- The softmax over the users of a batch for each item, beside that over the items --


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TwoWay:
    """The softmax over the users of a batch for each item, beside that over the items.

    For row b with user u_b and item i_b and its n - 1 other users,

      -log [ e^{s(u_b, i_b)} / (e^{s(u_b, i_b)} + sum_c e^{s(u_c, i_b)}) ].

    With the users' shares q_u of the rows, log (n - 1) q_u is subtracted from each
    score, that of the row too. Uncorrected users follow q_u, so that the optimum
    log [P(u, i) / q_u] plus a constant per item holds at s = log P(i | u), that of the
    softmax over items. Corrected, it holds at log P(u, i) = log P(i | u) + log P(u).
    Both rank the items of a user alike.

    ``negatives.mask`` masks here: the row alone (none), all rows of its user
    (same_item), and users that clicked the item too (user_positives).

    Attributes:
      weight: [] its weight beside the softmax over items.
      log_q_user: ([users] log share of a user among the rows of a batch,); () where the
        users are not corrected.

    References:
      Radford et al., Learning transferable visual models from natural language
      supervision, ICML 2021 (symmetric loss over both sides of a batch).
    """

    weight: Any
    log_q_user: tuple[Any, ...] = ()

    def of_scores(self, context: Any, scores: Scores, rows: RowTerms) -> jax.Array:
        """Weighted mean of the losses of the items of a batch, [] float32."""
        program, data, batch = context.program, context.data, context.batch
        users, number = batch.queries.user, batch.size
        place = jnp.arange(number, dtype=jnp.int32)
        masks = row_masks(program, data)
        key = users if masks.same_item else place
        zeros, log_count = (jnp.zeros(number, jnp.float32) for _ in range(2))
        for of_user in self.log_q_user:
            log_q = take_rows(of_user, users)
            log_count = log_q + jnp.log(jnp.float32(number - 1))
        every = jnp.broadcast_to(batch.items, (number, number))
        seen = tuple(contains(one, users, every).T for one in masks.positives)
        none = jnp.zeros((number, 0), jnp.float32)
        items = scores.columns[context.draws.columns.positive]
        loss = softmax_loss(
            Scores(items, scores.query, scores.positive - log_count, none),
            ColumnTerms(zeros, log_count[None, :], key, (place,)),
            RowTerms(
                weight=row_weights(program, data, batch),
                key=key,
                own_log_mult=jnp.full(number, -jnp.inf, jnp.float32),
                own_log_count=zeros,
                slots=PairTerms(none, none),
                seen=seen,
            ),
        )
        return self.weight * loss


# --- The self-supervised loss of items: one view of an item against views of others ---


class Views(NamedTuple):
    """Two views of the items of a step.

    Attributes:
      items: [N] int32.
      inputs: Inputs of the candidate tower for the N first views, then the N second.
    """

    items: jax.Array
    inputs: Inputs


def draw_views(
    program: Program, data: TrainData, state: TrainState
) -> tuple[Views, ...]:
    """Two views of uniform items; () where the loss has no such term.

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
        return ()
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
    return (Views(items, inputs),)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SelfSupervised:
    """The softmax between two views of an item.

    Attributes:
      weight: [] its weight beside the loss of the rows.
      temperature: [] divides the cosine of two views.
    """

    weight: Any
    temperature: Any

    def of_views(self, views: "Views", embeddings: jax.Array) -> jax.Array:
        """Weighted mean softmax loss of the first views against the second.

        For items i and j of the step, with embeddings z of the first and z' of the
        second views,

          L = -1/N sum_i log [ e^{c_ii / tau} / sum_j e^{c_ij / tau} ]

        with c_ij = cos(z_i, z'_j),

        j runs over i itself and the draws of other items.

        Args:
          views: of N items.
          embeddings: [2 N, D] of the first and then of the second views.

        Returns:
          [] float32, times the weight of the loss.

        References:
          Yao et al., CIKM 2021, eq. 2.
        """
        items, rows = views.items, views.items.shape[0]
        first, second = jnp.split(l2_normalize(embeddings), 2)
        first = first / self.temperature
        zeros, none = jnp.zeros(rows, jnp.float32), jnp.zeros((rows, 0), jnp.float32)
        place = jnp.arange(rows, dtype=jnp.int32)
        loss = softmax_loss(
            Scores(first, second, (first * second).sum(axis=1), none),
            ColumnTerms(zeros, zeros[None, :], items, (place,)),
            RowTerms(
                weight=jnp.full(rows, 1 / rows, jnp.float32),
                key=items,
                own_log_mult=jnp.full(rows, -jnp.inf, jnp.float32),
                own_log_count=zeros,
                slots=PairTerms(none, none),
            ),
        )
        return self.weight * loss
