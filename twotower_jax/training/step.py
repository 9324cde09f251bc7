"""One training step as a pure function, and several of them in one dispatch."""

from functools import partial

import jax
import jax.numpy as jnp

from twotower_jax.data.feed import Queries
from twotower_jax.losses import blockwise as sweep
from twotower_jax.losses.rowwise import LOSSES, SOFTMAX
from twotower_jax.model import two_tower as net
from twotower_jax.sampling import bank as banks
from twotower_jax.sampling import frequency
from twotower_jax.sampling.columns import first_columns
from twotower_jax.sampling.mining import best_of
from twotower_jax.training.correction import batch_terms, log_q_plus
from twotower_jax.training.draws import Draws, draw
from twotower_jax.training.optimizers import (
    OptimizerNumbers,
    make_optimizer,
    update_dense,
    update_rows,
)
from twotower_jax.training.types import Hyper, Structure, TrainData, TrainState


@partial(jax.jit, static_argnames="structure")
def init_state(
    structure: Structure, hyper: Hyper, scale: jax.Array, samplers: dict | None = None
) -> TrainState:
    """Return the state before the first step; tables are uniform in [-scale, scale]."""
    log_temperature = hyper.log_temperature if structure.learn_temperature else None
    params = net.init_params(structure.model, hyper.seed, scale, log_temperature)
    optimizer = make_optimizer(structure.optimizer, hyper.optimizer)
    opt_state = {
        "tables": {n: optimizer.init(table) for n, table in params["tables"].items()},
        "dense": optimizer.init(params["dense"]),
    }
    return TrainState(jnp.int32(0), params, opt_state, samplers or {})


def train_step(
    structure: Structure,
    hyper: Hyper,
    data: TrainData,
    state: TrainState,
    rows: jax.Array,
) -> tuple[TrainState, jax.Array]:
    """Return the state after a step on positives ``rows`` [B], and the mean loss.

    The loss is the weighted mean over the rows (every weight 1 unless reweighted).
    """
    items = data.item[rows]
    queries: Queries = jax.tree.map(lambda x: x[rows], data.queries)
    state = _count(structure, hyper, state, items)
    draws = draw(structure, hyper, data, state, rows)
    query_inputs = net.query_inputs(structure.model, data.entities, queries, items)
    if structure.negatives.hard_source == "dns" and structure.negatives.hard_num:
        draws = _choose(structure, data, state, query_inputs, draws)
    encode_ids = draws.columns.encode_ids
    if draws.slots is not None:
        # Slots first: the columns' number may be cut.
        encode_ids = jnp.concatenate([draws.slots.reshape(-1), encode_ids])
    candidate_inputs = net.candidate_inputs(structure.model, data.entities, encode_ids)
    inputs = (query_inputs, candidate_inputs)
    values = [net.gather_rows(state.params["tables"], one) for one in inputs]

    def batch_loss(size, dense, values):
        return _batch_loss(
            structure, hyper, data, state, rows, draws, inputs, size, dense, values
        )

    (loss, encoded), gradients = _loss_and_gradients(
        structure, draws, batch_loss, state.params["dense"], values
    )
    params, opt_state = _update(structure, hyper, state, inputs, values, gradients)
    samplers = _remember(structure, hyper, state, items, encoded)
    return TrainState(state.step + 1, params, opt_state, samplers), loss


def _count(
    structure: Structure, hyper: Hyper, state: TrainState, items: jax.Array
) -> TrainState:
    """Return the state with the batch counted in the streaming frequency."""
    if structure.frequency != "streaming":
        return state
    seen = frequency.update(
        state.samplers["frequency"], items, state.step, hyper.streaming_alpha
    )
    return state._replace(samplers=state.samplers | {"frequency": seen})


def _choose(structure, data, state, query_inputs, draws: Draws) -> Draws:
    """Return the draws with each slot's best candidate by the current scores (dns)."""
    ids, tables = draws.slots, state.params["tables"]
    assert ids is not None
    values = net.gather_rows(tables, query_inputs)
    dense, model = state.params["dense"], structure.model
    query = net.encode("query", model.query, dense, values, query_inputs)
    candidates = net.embed_candidates(
        model, state.params, data.entities, ids.reshape(-1)
    )
    scores = jnp.einsum("bd,bkmd->bkm", query, candidates.reshape(*ids.shape, -1))
    best = best_of(scores)[..., None]
    return draws._replace(slots=jnp.take_along_axis(ids, best, axis=-1)[..., 0])


def _loss_and_gradients(structure, draws: Draws, batch_loss, dense, values):
    """Return (mean loss, embeddings of the items) and the gradients.

    Merged columns are computed at their usual static size; the rare batch with more
    distinct items takes the branch at full size, with the same result.
    """

    def at_size(size: int | None):
        return jax.value_and_grad(
            partial(batch_loss, size), argnums=(0, 1), has_aux=True
        )

    full = draws.columns.encode_ids.shape[0]
    if not 0 < structure.merged_size < full:
        return at_size(None)(dense, values)
    return jax.lax.cond(
        draws.columns.num_distinct <= structure.merged_size,
        at_size(structure.merged_size),
        at_size(None),
        dense,
        values,
    )


def _batch_loss(
    structure, hyper, data, state, rows, draws, inputs, size, dense, values
):
    """Return the mean loss of the rows, and the embeddings of their items."""
    model, batch = structure.model, rows.shape[0]
    query_inputs, candidate_inputs = inputs
    columns, own = draws.columns, 0 if draws.slots is None else draws.slots.size
    if size is not None:
        columns = first_columns(columns, size)
        candidate_inputs = net.first_entities(candidate_inputs, own + size)
    query = net.encode("query", model.query, dense, values[0], query_inputs)
    encoded = net.encode(
        "candidate", model.candidate, dense, values[1], candidate_inputs
    )
    log_temperature = (
        dense["log_temperature"]
        if structure.learn_temperature
        else hyper.log_temperature
    )
    query = query * jnp.exp(-log_temperature)
    slots, candidates = None, encoded[own:]
    if draws.slots is not None:
        mine = encoded[:own].reshape(batch, -1, model.candidate.dim)
        slots = jnp.einsum("bd,bkd->bk", query, mine)
    items = candidates[columns.positive]
    terms = batch_terms(structure, hyper, data, state, rows, draws, columns)
    positive = (query * items).sum(axis=1) + terms.positive
    matrix = candidates[: columns.log_mult.shape[0]]
    if "bank" in state.samplers:
        matrix = jnp.concatenate([matrix, state.samplers["bank"].embedding])
    arguments = (query, matrix, positive, slots, terms.shared, terms.rows)
    if structure.loss in SOFTMAX and not structure.negatives.top_k:
        loss = sweep.softmax_loss(*arguments)
    else:
        numbers = hyper.loss._replace(
            temperature=jax.lax.stop_gradient(jnp.exp(log_temperature)),
            num_items=jnp.float32(structure.num_items),
        )
        named = LOSSES[structure.loss]
        loss = sweep.row_loss(named, structure.negatives.top_k, *arguments, numbers)
    return loss, jax.lax.stop_gradient(items)


def _update(structure, hyper, state: TrainState, inputs, values, gradients):
    """Return params and optimizer state after the step."""
    d_dense, d_values = gradients
    numbers = _numbers_at(hyper, state.step)
    tables = dict(state.params["tables"])
    table_state = dict(state.opt_state["tables"])
    dense, dense_state = update_dense(
        structure.optimizer,
        numbers,
        state.params["dense"],
        d_dense,
        state.opt_state["dense"],
    )
    for one, value, gradient in zip(inputs, values, d_values, strict=True):
        for name, found in one.rows.items():
            tables[name], table_state[name] = update_rows(
                structure.optimizer,
                numbers,
                tables[name],
                table_state[name],
                found.ids,
                value[name],
                gradient[name],
            )
    return (
        {"tables": tables, "dense": dense},
        {"tables": table_state, "dense": dense_state},
    )


def _numbers_at(hyper: Hyper, step: jax.Array) -> OptimizerNumbers:
    """Return the optimizer's numbers with the learning rate of a step."""
    done = step.astype(jnp.float32) / jnp.maximum(hyper.decay_steps, 1)
    left = jnp.where(hyper.decay_steps > 0, jnp.maximum(1 - done, 0), 1)
    rate = hyper.optimizer.learning_rate * left
    return hyper.optimizer._replace(learning_rate=rate)


def _remember(structure, hyper, state: TrainState, items, encoded) -> dict:
    """Return what the samplers remember: the bank takes the batch's items in."""
    if "bank" not in state.samplers:
        return state.samplers
    log_q = log_q_plus(structure, hyper, state, items.shape[0])(items)
    bank = banks.push(state.samplers["bank"], encoded, items, log_q, state.step)
    return state.samplers | {"bank": bank}


@partial(jax.jit, static_argnames="structure", donate_argnames="state")
def run_steps(
    structure: Structure,
    hyper: Hyper,
    data: TrainData,
    state: TrainState,
    rows: jax.Array,
    number: jax.Array,
) -> tuple[TrainState, jax.Array]:
    """Run the first ``number`` of the batches ``rows`` [K, B] in one dispatch.

    Returns:
      The state and the losses [K], 0 for batches that were not run. Any K gives the
      same bits, and any ``number`` the same program.
    """

    def body(place, carry):
        state, losses = carry
        state, loss = train_step(structure, hyper, data, state, rows[place])
        return state, losses.at[place].set(loss)

    losses = jnp.zeros(rows.shape[0], jnp.float32)
    return jax.lax.fori_loop(0, number, body, (state, losses))
