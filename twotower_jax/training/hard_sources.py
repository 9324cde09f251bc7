"""Sources of hard negatives: each draws the hard slots of the rows of a batch."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.model import two_tower as net
from twotower_jax.registry import Registry
from twotower_jax.sampling.hard import draw_hard
from twotower_jax.sampling.mining import best_of
from twotower_jax.training.easy_draws import draw_easy
from twotower_jax.training.row_masks import masked_items
from twotower_jax.training.score_filter import too_close
from twotower_jax.training.types import Batch, Program, TrainData, TrainState


class RowPools(NamedTuple):
    """The pools of the rows of a batch.

    Attributes:
      item: [B, L] int32 items; num_items is padding.
      log_prob: [B, L] float32 log probability of a draw; -inf on padding.
    """

    item: jax.Array
    log_prob: jax.Array


class Slots(NamedTuple):
    """The slots of the rows of a batch.

    Attributes:
      items: [B, K] int32; num_items is a slot that is switched off. Before the choice
        of a source that scores candidates: [B, K, M].
      is_hard: [B, K] bool, whether the hard source drew the slot.
      pool: Pools of the hard draws, or None where the source has no pools.
    """

    items: jax.Array
    is_hard: jax.Array
    pool: RowPools | None


class HardDraws(NamedTuple):
    """Hard draws for every slot of the rows of a batch.

    Attributes:
      items: [B, K] int32 items, or [B, K, M] candidates of which one is chosen.
      pool: Pools of the draws, or None where the source has no pools.
    """

    items: jax.Array
    pool: RowPools | None


class HardSource(NamedTuple):
    """A choice of ``negatives.hard.source``.

    Attributes:
      draw: Function of the program, the data, the state and the batch.
      choose: Function of the program, the data, the state, the batch, the inputs of
        the query tower and the slots, which returns slots with one item each.
      of_log: Whether the pools are those of the log's funnel, in ``TrainData.pools``.
      mined: Whether the model mines the pools during the training.
      scored: Whether each slot has candidates, of which ``choose`` keeps one.
    """

    draw: Callable[[Program, TrainData, TrainState, Batch], HardDraws]
    choose: Callable[[Program, TrainData, TrainState, Batch, net.Inputs, Slots], Slots]
    of_log: bool = False
    mined: bool = False
    scored: bool = False


def draw_from_log(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> HardDraws:
    """Draws from the pool of each positive: items that a stage of the funnel rejected.

    Args:
      program: The program.
      data: Training data with the pools of the log.
      state: State before the step.
      batch: B positives.

    Returns:
      Draws [B, K] and the pools.

    Raises:
      ValueError: The data has no pools.
    """
    if data.pools is None:
        raise ValueError(
            "negatives.hard.source=log draws from pools; the data has none"
        )
    pool = jnp.asarray(data.pools.of_row)[batch.rows]
    item, log_prob = jnp.asarray(data.pools.item), jnp.asarray(data.pools.log_prob)
    pool = jnp.where(pool < 0, item.shape[0], pool)
    rows = RowPools(
        item.at[pool].get(mode="fill", fill_value=program.structure.num_items),
        log_prob.at[pool].get(mode="fill", fill_value=-jnp.inf),
    )
    return _draw_from(rows, program, state)


def draw_from_mined(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> HardDraws:
    """Uniform draws from the window of the ranking that was mined last.

    Args:
      program: The program.
      data: Training data.
      state: State before the step, with the memory "mined".
      batch: B positives.

    Returns:
      Draws [B, K] and the pools, which are empty before the first mining.
    """
    del data
    item = state.samplers["mined"][batch.queries.user]
    present = item < program.structure.num_items
    number = present.sum(axis=1, keepdims=True).astype(jnp.float32)
    rows = RowPools(item, jnp.where(present, -jnp.log(number), -jnp.inf))
    return _draw_from(rows, program, state)


def _draw_from(pool: RowPools, program: Program, state: TrainState) -> HardDraws:
    key = _key(program, state)
    number = program.structure.negatives.slots
    return HardDraws(draw_hard(key, pool.item, pool.log_prob, number), pool)


def _key(program: Program, state: TrainState) -> jax.Array:
    return keys.stream(program.hyper.seed, "negatives.hard", state.step)


def keep_items(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    queries: net.Inputs,
    slots: Slots,
) -> Slots:
    """The slots as they were drawn.

    Args:
      program: Not used, like all arguments but the slots.
      data: Not used.
      state: Not used.
      batch: Not used.
      queries: Not used.
      slots: Slots with items [B, K].

    Returns:
      The slots.
    """
    del program, data, state, batch, queries
    return slots


def draw_candidates(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> HardDraws:
    """Easy draws of which ``choose_best`` keeps the best-scored one per slot (dns).

    Args:
      program: The program.
      data: Training data.
      state: State before the step.
      batch: B positives.

    Returns:
      Draws [B, K, M] with M = ``candidate_num``.
    """
    negatives = program.structure.negatives
    shape = (batch.items.shape[0], negatives.slots, negatives.candidate_num)
    key = _key(program, state)
    return HardDraws(draw_easy(program, data, batch, key, shape), None)


def choose_best(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    queries: net.Inputs,
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
      program: The program.
      data: Training data.
      state: State before the step.
      batch: B positives.
      queries: Inputs of the query tower for B rows.
      slots: Candidates [B, K, M].

    Returns:
      Slots with items [B, K]; num_items where every candidate is masked.

    References:
      Zhang et al., Optimizing Top-N Collaborative Filtering via Dynamic Negative Item
      Sampling, SIGIR 2013.
    """
    ids, model, dense = slots.items, program.structure.model, state.params["dense"]
    values = net.gather_rows(state.params["tables"], queries)
    query = net.encode("query", model.query, dense, values, queries)
    embed = partial(net.embed_candidates, model, state.params, data.entities)
    candidates = embed(ids.reshape(-1)).reshape(*ids.shape, -1)
    scores = jnp.einsum("bd,bkmd->bkm", query, candidates)
    masked = masked_items(program, data, batch, ids)
    if program.hyper.filter is not None:
        positive = (query * embed(batch.items)).sum(axis=1)
        masked |= too_close(program, state, positive, scores)
    best = best_of(jnp.where(masked, -jnp.inf, scores))[..., None]
    items = jnp.take_along_axis(ids, best, axis=-1)[..., 0]
    items = jnp.where(masked.all(axis=-1), program.structure.num_items, items)
    return slots._replace(items=items)


HARD_SOURCES: Registry[HardSource] = Registry(
    "negatives.hard.source",
    {
        "log": HardSource(draw_from_log, keep_items, of_log=True),
        "mined": HardSource(draw_from_mined, keep_items, mined=True),
        "dns": HardSource(draw_candidates, choose_best, scored=True),
    },
)
