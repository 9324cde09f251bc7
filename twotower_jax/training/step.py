"""One training step as a pure function, and several of them in one dispatch."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from twotower_jax.arrays.shards import on_all
from twotower_jax.model import two_tower as net
from twotower_jax.model.embeddings import is_of_ids
from twotower_jax.negatives.source import Batch
from twotower_jax.registry import join
from twotower_jax.training import batch_loss
from twotower_jax.training.mesh import in_place
from twotower_jax.training.queries import batch_queries
from twotower_jax.training.sources import draw, mixture_of
from twotower_jax.training.types import Program, TrainData, TrainState
from twotower_jax.training.updates import update_blocks, update_dense


@jax.jit
def init_state(
    program: Program, scale: jax.Array, samplers: dict[str, Any] | None = None
) -> TrainState:
    """The state before the first step."""
    learned = program.log_temperature if program.learn_temperature else None
    params = net.init_params(program.model, program.seed, scale, learned)
    init = program.optimizer.transformation().init
    opt_state = {
        "tables": {name: init(table) for name, table in params["tables"].items()},
        "dense": init(params["dense"]),
    }
    return TrainState(jnp.int32(0), params, opt_state, samplers or {})


def train_step(
    program: Program, data: TrainData, state: TrainState, rows: jax.Array
) -> tuple[TrainState, jax.Array]:
    """State after a step on the positives ``rows`` [B], and their mean loss before."""
    batch = data.batch(rows)._replace(step=state.step)
    state = observe(program, data, state, batch)
    queries = batch_queries(program, data, state, batch)
    draws = draw(program, data, state, batch, queries)
    inputs = batch_loss.tower_inputs(program, data, state, queries, draws)
    weights = batch_loss.gather_weights(state, inputs)
    context = batch_loss.Context(program, data, state, batch, draws, inputs)
    (loss, items), gradient = batch_loss.loss_and_gradient(context, weights)
    tables = batch_loss.table_gradients(context, weights, gradient)
    params, opt_state = update(program, state, gradient, tables)
    mixture = mixture_of(program, data, state)
    samplers = mixture.update(state.samplers, batch, draws, items)
    after = TrainState(state.step + 1, params, opt_state, samplers)
    return in_place(after), loss


def observe(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> TrainState:
    """State with the items of the batch counted, where log q+ is streamed."""
    batch = batch._replace(step=state.step)
    mixture = mixture_of(program, data, state)
    return state._replace(samplers=mixture.observe(state.samplers, batch))


def update(
    program: Program,
    state: TrainState,
    gradient: batch_loss.Weights,
    tables: batch_loss.TableGradients,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and optimizer state after a step, with ``ids_alone`` of ids alone."""
    # The learning rate falls linearly to 0.
    done = state.step.astype(jnp.float32) / jnp.maximum(program.decay_steps, 1)
    left = jnp.where(program.decay_steps > 0, jnp.maximum(1 - done, 0), 1)
    rate = program.optimizer.learning_rate * left
    optimizer = join(program.optimizer, {"learning_rate": rate})
    ids_alone = program.ids_alone
    dense, dense_state = state.params["dense"], state.opt_state["dense"]
    if not ids_alone:
        dense, dense_state = update_dense(optimizer, dense, gradient.dense, dense_state)
    params = state.params | {"dense": dense, "tables": dict(state.params["tables"])}
    table_state = dict(state.opt_state["tables"])
    rows = net.rows_of_tables(program.model)
    for name, gradients in tables.items():
        if ids_alone and not is_of_ids(name):
            continue
        params["tables"][name], table_state[name] = update_blocks(
            optimizer, params["tables"][name], table_state[name], gradients, rows[name]
        )
    # A learned temperature has a rate of its own and no optimizer state: its gradient
    # is of another size than those of the tables. For a softmax it is the mean of
    # (score of the positive - expected score of the row), so that T falls as the model
    # memorises its rows; the bounds and the rate limit the fall.
    for of_temperature in () if ids_alone else gradient.log_temperature:
        rate, low, high = program.temperature
        moved = params["log_temperature"] - rate * of_temperature
        params["log_temperature"] = jnp.clip(moved, low, high)
    return params, {"tables": table_state, "dense": dense_state}


@partial(jax.jit, donate_argnames="state")
def run_steps(
    program: Program,
    data: TrainData,
    state: TrainState,
    rows: jax.Array,
    number: jax.Array,
) -> tuple[TrainState, jax.Array]:
    """State and losses [K] after ``number`` steps on the positives ``rows`` [K, B].

    Any K gives the same bits, and any number is the same compiled program. The losses
    of batches that were not run are 0.
    """

    def run_step(
        place: jax.Array, carry: tuple[TrainState, jax.Array]
    ) -> tuple[TrainState, jax.Array]:
        state, losses = carry
        state, loss = train_step(program, data, state, rows[place])
        return state, losses.at[place].set(loss)

    losses = jnp.zeros(rows.shape[0], jnp.float32)
    state, losses = jax.lax.fori_loop(0, number, run_step, (state, losses))
    # The compiler chooses again what leaves the loop.
    return in_place(state), on_all(losses)
