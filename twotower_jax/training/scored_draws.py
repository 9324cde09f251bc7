"""Hard draws that the model scores: the best candidates, or resampled ones."""

from functools import partial

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.model import two_tower as net
from twotower_jax.model.inputs import Inputs
from twotower_jax.sampling.hard import draw_hard, has_pool
from twotower_jax.sampling.mining import best_of
from twotower_jax.sampling.proposals import log_prob
from twotower_jax.sampling.resampling import resampled_log_prob
from twotower_jax.training.easy_draws import draw_easy, log_mass
from twotower_jax.training.queries import query_vectors
from twotower_jax.training.row_masks import masked_items
from twotower_jax.training.score_filter import too_close
from twotower_jax.training.slots import HardDraws, RowPools, Slots
from twotower_jax.training.types import Batch, Program, TrainData, TrainState


def draw_candidates(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> HardDraws:
    """Easy draws of which ``choose_best`` keeps the best-scored one per slot (dns).

    Returns:
      Draws [B, K, M] with M = ``candidate_num``.
    """
    negatives = program.structure.negatives
    shape = (batch.items.shape[0], negatives.slots, negatives.candidate_num)
    key = keys.stream(program.hyper.seed, "negatives.hard", state.step)
    return HardDraws(draw_easy(program, data, batch, key, shape), None)


def choose_best(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    queries: Inputs,
    slots: Slots,
) -> Slots:
    """Slots with the candidate that has the best score under the current parameters.

    The row's mask and the filter of negatives apply before the choice: a candidate that
    they drop has the score -inf. The best of plain draws is often an item that the user
    likes; masked after the choice, it would leave its slot empty. A slot with masked
    candidates alone is switched off.

    With ``negatives.hard.log_q=easy`` the expected counts stay those of the easy
    proposal: m + h draws of q^E. They do not describe the choice. Its exact probability
    is that of ``dns_log_prob`` with the scores of masked items at -inf.

    Args:
      slots: Candidates [B, K, M].

    Returns:
      Slots with items [B, K]; num_items where every candidate is masked.

    References:
      Zhang et al., Optimizing Top-N Collaborative Filtering via Dynamic Negative Item
      Sampling, SIGIR 2013.
    """
    ids = slots.items
    scores, masked = _scored(program, data, state, batch, queries, ids)
    best = best_of(jnp.where(masked, -jnp.inf, scores))[..., None]
    items = jnp.take_along_axis(ids, best, axis=-1)[..., 0]
    items = jnp.where(masked.all(axis=-1), program.structure.num_items, items)
    return slots._replace(items=items)


def draw_pool(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> HardDraws:
    """Easy draws of each row, a pool from which ``choose_resampled`` fills its slots.

    Returns:
      Empty slots [B, K], and pools [B, M] with the log probability of an easy draw;
      M = ``candidate_num``.
    """
    negatives, rows = program.structure.negatives, batch.items.shape[0]
    shape = (rows, negatives.candidate_num)
    item = draw_easy(
        program,
        data,
        batch,
        keys.stream(program.hyper.seed, "negatives.hard", state.step),
        shape,
    )
    log_q = log_prob(program.hyper.easy, item)
    mass = log_mass(program, data, batch)
    if mass is not None:
        log_q -= mass[:, None]
    empty = jnp.full((rows, negatives.slots), program.structure.num_items, jnp.int32)
    return HardDraws(empty, RowPools(item, log_q))


def choose_resampled(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    queries: Inputs,
    slots: Slots,
) -> Slots:
    """Slots drawn from each row's pool in proportion to e^s / q.

    s is the logit of a candidate, its current score over the temperature, and q its
    probability as an easy draw, so that the draws nearly follow the model's softmax.
    Candidates that the row's mask or the filter of negatives drops have the weight 0.
    The log q of the draws is exact, see `resampled_log_prob`. A slot of a row whose
    candidates are all dropped is switched off.

    Returns:
      Slots with items [B, K], and pools with the log probability of a hard draw.

    References:
      Chen et al., Learning Recommenders for Implicit Feedback with Importance
      Resampling, WWW 2022 (AdaSIR).
    """
    if slots.pool is None:
        raise ValueError("resampled slots need the pools that they are drawn from")
    ids, num_items = slots.pool.item, program.structure.num_items
    scores, masked = _scored(program, data, state, batch, queries, ids)
    log_temperature = state.params.get("log_temperature", program.hyper.log_temperature)
    logits = scores * jnp.exp(-log_temperature)
    log_weight = jnp.where(masked, -jnp.inf, logits - slots.pool.log_prob)
    key = keys.stream(program.hyper.seed, "negatives.resampled", state.step)
    drawn = draw_hard(key, ids, log_weight, slots.items.shape[1])
    drawn = jnp.where(has_pool(log_weight)[:, None], drawn, num_items)
    alone = program.structure.negatives.only_hard
    law = resampled_log_prob(ids, log_weight, slots.pool.log_prob, alone=alone)
    return slots._replace(
        items=jnp.where(slots.is_hard, drawn, slots.items), pool=RowPools(ids, law)
    )


def _scored(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    queries: Inputs,
    ids: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return scores before the temperature of candidates [B, ...], and which are out.

    Out are those that the row's mask drops, or the filter of negatives.
    """
    model = program.structure.model
    query = query_vectors(model, queries, state.params)
    embed = partial(net.embed_candidates, model, state.params, data.entities)
    candidates = embed(ids.reshape(-1)).reshape(*ids.shape, -1)
    scores = jnp.einsum("bd,b...d->b...", query, candidates)
    masked = masked_items(program, data, batch, ids)
    if program.hyper.filter is not None:
        positive = (query * embed(batch.items)).sum(axis=1)
        masked |= too_close(program, state, positive, scores)
    return scores, masked
