"""One training step as a pure function, and several of them in one dispatch.

What is a number is an argument (``Hyper``), what is structure is static
(``Structure``): arms of a sweep that differ in numbers share one compiled program.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.data.feed import Queries, TrainData
from twotower_jax.losses import LOSSES, WHOLE_CATALOGUE
from twotower_jax.optim import (
    OptimizerNumbers,
    make_optimizer,
    update_dense,
    update_rows,
)
from twotower_jax.sampling import columns as cols
from twotower_jax.sampling.mixture import log_expected_count
from twotower_jax.sampling.proposals import Proposal, log_prob, sample
from twotower_jax.training import model as net


class Structure(NamedTuple):
    """What a compiled program depends on, beside the shapes of its arguments.

    Attributes:
      merged_size: static number of merged columns; 0 keeps one column a draw.
    """

    model: net.Model
    loss: str
    in_batch: bool
    easy_num: int
    mask: str
    correct: str
    optimizer: str
    learn_temperature: bool
    merged_size: int
    num_items: int


class Hyper(NamedTuple):
    """Every number of a run, as arrays.

    Attributes:
      seed: uint32 scalar.
      log_temperature: scalar; not read when the temperature is learned.
      log_q_batch: [num_items] log q+ of the batch's items.
      easy: the easy proposal.
      optimizer: the optimizer's numbers.
      decay_steps: steps in which the learning rate falls linearly to 0; 0 keeps it.
    """

    seed: jax.Array
    log_temperature: jax.Array
    log_q_batch: jax.Array
    easy: Proposal
    optimizer: OptimizerNumbers
    decay_steps: jax.Array


class TrainState(NamedTuple):
    """What a checkpoint holds: step, params and optimizer state (tables, dense)."""

    step: jax.Array
    params: dict
    opt_state: dict


@partial(jax.jit, static_argnames="structure")
def init_state(structure: Structure, hyper: Hyper, scale: jax.Array) -> TrainState:
    """Return the state before the first step; tables are uniform in [-scale, scale]."""
    log_temperature = hyper.log_temperature if structure.learn_temperature else None
    params = net.init_params(structure.model, hyper.seed, scale, log_temperature)
    optimizer = make_optimizer(structure.optimizer, hyper.optimizer)
    opt_state = {
        "tables": {n: optimizer.init(table) for n, table in params["tables"].items()},
        "dense": optimizer.init(params["dense"]),
    }
    return TrainState(jnp.int32(0), params, opt_state)


def train_step(
    structure: Structure,
    hyper: Hyper,
    data: TrainData,
    state: TrainState,
    rows: jax.Array,
) -> tuple[TrainState, jax.Array]:
    """Return the state after a step on positives ``rows`` [B], and the mean loss."""
    items = data.item[rows]
    queries: Queries = jax.tree.map(lambda x: x[rows], data.queries)
    columns = _draw_columns(structure, hyper, items, state.step)
    query_inputs = net.query_inputs(structure.model, data.entities, queries, items)
    candidate_inputs = net.candidate_inputs(
        structure.model, data.entities, columns.encode_ids
    )
    tables, dense = state.params["tables"], state.params["dense"]
    inputs = (query_inputs, candidate_inputs)
    values = [net.gather_rows(tables, one) for one in inputs]

    numbers = _numbers_at(hyper, state.step)
    loss, (d_dense, d_values) = _loss_and_gradients(
        structure, hyper, dense, values, inputs, columns, items
    )
    dense, dense_state = update_dense(
        structure.optimizer, numbers, dense, d_dense, state.opt_state["dense"]
    )
    new_tables, table_state = dict(tables), dict(state.opt_state["tables"])
    for one, value, gradient in zip(inputs, values, d_values, strict=True):
        for name, found in one.rows.items():
            new_tables[name], table_state[name] = update_rows(
                structure.optimizer,
                numbers,
                tables[name],
                table_state[name],
                found.ids,
                value[name],
                gradient[name],
            )
    params = {"tables": new_tables, "dense": dense}
    opt_state = {"tables": table_state, "dense": dense_state}
    return TrainState(state.step + 1, params, opt_state), loss


def _numbers_at(hyper: Hyper, step: jax.Array) -> OptimizerNumbers:
    """Return the optimizer's numbers with the learning rate of a step."""
    done = step.astype(jnp.float32) / jnp.maximum(hyper.decay_steps, 1)
    left = jnp.where(hyper.decay_steps > 0, jnp.maximum(1 - done, 0), 1)
    rate = hyper.optimizer.learning_rate * left
    return hyper.optimizer._replace(learning_rate=rate)


def _draw_columns(
    structure: Structure, hyper: Hyper, items: jax.Array, step: jax.Array
) -> cols.Columns:
    if structure.loss in WHOLE_CATALOGUE:
        return cols.catalogue_columns(items, structure.num_items)
    key = keys.stream(hyper.seed, "negatives.easy", step)
    drawn = sample(key, hyper.easy, (structure.easy_num,))
    if structure.merged_size:
        return cols.merged_columns(
            items, drawn, mask=structure.mask, num_items=structure.num_items
        )
    return cols.separate_columns(
        items, drawn, in_batch=structure.in_batch, mask=structure.mask
    )


def _loss_and_gradients(structure, hyper, dense, values, inputs, columns, items):
    """Return the mean loss and its gradient by (dense, values).

    Merged columns are computed at their usual static size; the rare batch with more
    distinct items takes the branch at full size, with the same result.
    """

    def at_size(size: int | None):
        some = columns if size is None else cols.first_columns(columns, size)
        query_inputs, candidate_inputs = inputs
        if size is not None:
            candidate_inputs = net.first_entities(candidate_inputs, size)
        sized = (query_inputs, candidate_inputs)
        loss = partial(_batch_loss, structure, hyper, sized, some, items)
        return jax.value_and_grad(loss, argnums=(0, 1))

    full = columns.encode_ids.shape[0]
    if not 0 < structure.merged_size < full:
        return at_size(None)(dense, values)
    return jax.lax.cond(
        columns.num_distinct <= structure.merged_size,
        at_size(structure.merged_size),
        at_size(None),
        dense,
        values,
    )


def _batch_loss(structure, hyper, inputs, columns, items, dense, values) -> jax.Array:
    """Return the mean over the rows of the batch (every weight 1)."""
    model = structure.model
    query = net.encode("query", model.query, dense, values[0], inputs[0])
    candidates = net.encode("candidate", model.candidate, dense, values[1], inputs[1])
    log_temperature = (
        dense["log_temperature"]
        if structure.learn_temperature
        else hyper.log_temperature
    )
    query = query * jnp.exp(-log_temperature)
    positive = (query * candidates[columns.positive]).sum(axis=1)
    number = columns.log_mult.shape[0]
    bias, own_bias, positive_bias = _biases(structure, hyper, columns, items)
    return LOSSES[structure.loss](
        query,
        candidates[:number],
        positive + positive_bias,
        bias,
        columns.column_key,
        columns.row_key,
        own_bias,
        jnp.full(items.shape, 1 / items.shape[0], jnp.float32),
    )


def _biases(structure, hyper, columns, items):
    """Return what is added to the scores of columns [C], own columns and positives [B].

    logQ: every negative minus log N (correct = all, negatives), the positive too
    (all); the full softmax has nothing to correct.
    """
    zero = jnp.zeros(items.shape, jnp.float32)
    if structure.correct == "none" or structure.loss in WHOLE_CATALOGUE:
        return columns.log_mult, columns.own_log_mult, zero

    def log_count(ids: jax.Array) -> jax.Array:
        known = jnp.minimum(ids, structure.num_items - 1)
        return log_expected_count(
            hyper.log_q_batch[known],
            items.shape[0] - 1 if structure.in_batch else 0,
            log_prob(hyper.easy, known),
            structure.easy_num,
        )

    own = log_count(items)
    ids = columns.encode_ids[: columns.log_mult.shape[0]]
    # A padding column has multiplicity 0 whatever the count of the item it points to.
    none = jnp.isneginf(columns.log_mult)
    bias = jnp.where(none, -jnp.inf, columns.log_mult - log_count(ids))
    return (
        bias,
        columns.own_log_mult - own,
        -own if structure.correct == "all" else zero,
    )


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
