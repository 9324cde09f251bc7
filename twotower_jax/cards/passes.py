"""Passes over the positives of a small world, with free scores in place of towers.

A pass is training without updates: the draws, the corrections, the masks and the loss
are those of a training step. Its gradient by the score of a type and an item has two
parts, the pull of rows whose positive is the item, and the push of rows in which the
item is a negative. At an optimum they are equal.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.losses.logits import Scores
from twotower_jax.model.two_tower import query_inputs
from twotower_jax.negatives.mixture import Draws
from twotower_jax.negatives.source import Batch
from twotower_jax.training.batch_loss import (
    Context,
    batch_scores,
    loss_of_scores,
    tower_inputs,
)
from twotower_jax.training.sources import draw, mixture_of
from twotower_jax.training.step import observe
from twotower_jax.training.types import Program, TrainData, TrainState


class Forces(NamedTuple):
    """The gradient of a pass by the scores, in two parts."""

    pull: jax.Array  # [T, N] sum of minus the gradients by the scores of positives
    push: jax.Array  # [T, N] sum of the gradients by the scores of negatives
    banked: jax.Array  # [] part of the sum of ``push`` that entries of a bank have
    squares: jax.Array  # [] sum over the batches of the squared length of the gradient


def free_params(
    program: Program, scores: jax.Array, type_of_user: jax.Array
) -> dict[str, Any]:
    """Parameters of towers without layers whose logits are given scores."""
    temperature = jnp.exp(program.log_temperature)
    query = temperature * jax.nn.one_hot(type_of_user, scores.shape[0])
    tables = {"query.id": query, "candidate.id": scores.T}
    return {"tables": tables, "dense": {"query": {}, "candidate": {}}}


@jax.jit
def run_pass(
    program: Program, data: TrainData, state: TrainState, rows: jax.Array
) -> tuple[TrainState, Forces]:
    """The forces on the scores over several batches; the scores stay as they are."""
    zeros = jnp.zeros_like(state.params["tables"]["candidate.id"].T)

    def add_batch(
        carry: tuple[TrainState, Forces], batch_rows: jax.Array
    ) -> tuple[tuple[TrainState, Forces], None]:
        state, forces = carry
        state, batch = _step(program, data, state, data.batch(batch_rows))
        squares = ((batch.push - batch.pull) ** 2).sum()
        added = jax.tree.map(jnp.add, forces, batch._replace(squares=squares))
        return (state, added), None

    start = Forces(zeros, zeros, jnp.float32(0), jnp.float32(0))
    (state, forces), _ = jax.lax.scan(add_batch, (state, start), rows)
    return state, forces


@jax.jit
def stream_items(
    program: Program, data: TrainData, state: TrainState, rows: jax.Array
) -> TrainState:
    """The state after a streaming frequency has counted items of several batches."""

    def count(state: TrainState, batch_rows: jax.Array) -> tuple[TrainState, None]:
        state = observe(program, data, state, data.batch(batch_rows))
        return state._replace(step=state.step + 1), None

    return jax.lax.scan(count, state, rows)[0]


def _step(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> tuple[TrainState, Forces]:
    """The state after a step without an update, and the forces of its batch."""
    model = program.model
    batch = batch._replace(step=state.step)
    state = observe(program, data, state, batch)
    queries = query_inputs(model, data.entities, batch.queries, batch.items)
    draws = draw(program, data, state, batch, queries)
    inputs = tower_inputs(program, data, state, queries, draws)
    context = Context(program, data, state, batch, draws, inputs)
    tables = state.params["tables"]
    temperature = jnp.exp(program.log_temperature)
    query = tables["query.id"][batch.queries.user] / temperature
    candidates = tables["candidate.id"].at[_candidate_ids(draws)].get(mode="clip")
    scores = batch_scores(context, query, candidates)
    gradient = jax.grad(partial(loss_of_scores, context))(scores, temperature)
    forces = _by_item(context, query, gradient)
    items = tables["candidate.id"][batch.items]
    mixture = mixture_of(program, data, state)
    samplers = mixture.update(state.samplers, batch, draws, items)
    return state._replace(step=state.step + 1, samplers=samplers), forces


def _candidate_ids(draws: Draws) -> jax.Array:
    """The items of the slots, row by row, and then of the columns."""
    ids = draws.columns.encode_ids
    return jnp.concatenate([draws.slots.items.reshape(-1), ids])


def _by_item(context: Context, query: jax.Array, gradient: Scores) -> Forces:
    """The gradient by scores of pairs as one by types and items."""
    draws, items = context.draws, context.batch.items
    kind = jnp.argmax(query, axis=1)
    table = jnp.zeros((query.shape[1], context.program.num_items))
    columns = draws.columns.encode_ids[: draws.columns.log_mult.shape[0]]
    banked = gradient.columns[columns.shape[0] :].sum()
    for stored in draws.stored:
        columns = jnp.concatenate([columns, stored.items])
    # Padding has an id behind the last item, which is dropped.
    push = table.at[:, columns].add(gradient.columns.T, mode="drop")
    place = (kind[:, None], draws.slots.items)
    push = push.at[place].add(gradient.slots, mode="drop")
    pull = table.at[kind, items].add(-gradient.positive)
    return Forces(pull, push, banked, jnp.float32(0))
