"""The loss of a batch as a function of the parameters that the batch touches."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.data.shards import take
from twotower_jax.losses import blockwise
from twotower_jax.losses.terms import Scores
from twotower_jax.model import two_tower as net
from twotower_jax.model.inputs import Inputs, first_entities
from twotower_jax.model.inputs import candidate_inputs as inputs_of_items
from twotower_jax.registry import join
from twotower_jax.sampling.columns import first_columns
from twotower_jax.sampling.distinct import distinct_rows
from twotower_jax.training.correction import batch_terms, columns_ascend
from twotower_jax.training.draws import Draws
from twotower_jax.training.kth_scores import weights_at_k
from twotower_jax.training.queries import drop_numbers
from twotower_jax.training.score_filter import score_limit
from twotower_jax.training.terms import Views, stage_loss, user_loss, view_loss
from twotower_jax.training.types import Batch, Program, TrainData, TrainState


class TowerInputs(NamedTuple):
    """Inputs of both towers for a batch.

    Attributes:
      query: Inputs of the queries of the B rows.
      candidate: Inputs of the slots, row by row, and then of the columns; or of their
        distinct items.
      place: [B K + C] int32 index of slots and columns into the distinct items, behind
        the last one for an id outside of the catalogue; None where each slot and
        column has inputs of its own.
      views: Two views of items; None without a self-supervised loss.
    """

    query: Inputs
    candidate: Inputs
    place: jax.Array | None = None
    views: Views | None = None


class Weights(NamedTuple):
    """The parameters that a batch touches; the loss is differentiated by them.

    Attributes:
      dense: Parameters of the towers.
      query: {table: [R, dim]} rows that the query tower reads; of a gradient, those of
        histories in chunks are `SummedRows`.
      candidate: {table: [R, dim]} rows that the candidate tower reads.
      views: {table: [R, dim]} rows that it reads for views; empty without them.
      log_temperature: [] log of a learned temperature; None where it is fixed.
      embedded: [B, D] embeddings of the queries, where they are computed in chunks;
        the query tower then reads no rows.
    """

    dense: dict[str, Any]
    query: dict[str, Any]
    candidate: dict[str, jax.Array]
    views: dict[str, jax.Array]
    log_temperature: jax.Array | None
    embedded: Any = None


class Context(NamedTuple):
    """The constants of the loss of a batch.

    Attributes:
      program: The program.
      data: Training data.
      state: State before the step.
      batch: B positives.
      draws: Negatives of the batch.
      inputs: Inputs of both towers.
    """

    program: Program
    data: TrainData
    state: TrainState
    batch: Batch
    draws: Draws
    inputs: TowerInputs


def tower_inputs(
    program: Program,
    data: TrainData,
    queries: Inputs,
    draws: Draws,
    views: Views | None = None,
) -> TowerInputs:
    """Inputs of both towers for a batch.

    Where slots and columns are more than the items of the catalogue, each distinct item
    is encoded once.

    Args:
      views: Two views of items; None without a self-supervised loss.
    """
    structure, ids = program.structure, draws.columns.encode_ids
    distinct, place = columns_ascend(structure) and draws.slots is None, None
    if draws.slots is not None:
        # Slots come first, because the columns may be cut to the first ones.
        ids = jnp.concatenate([draws.slots.items.reshape(-1), ids])
        if ids.shape[0] > structure.num_items:
            ids, place, _ = distinct_rows(ids, structure.num_items)
    candidates = inputs_of_items(structure.model, data.entities, ids, distinct=distinct)
    return TowerInputs(queries, candidates, place, views)


def gather_weights(state: TrainState, inputs: TowerInputs) -> Weights:
    """The parameters that a batch touches."""
    tables, views = state.params["tables"], inputs.views
    return Weights(
        state.params["dense"],
        net.gather_rows(tables, inputs.query),
        net.gather_rows(tables, inputs.candidate),
        {} if views is None else net.gather_rows(tables, views.inputs),
        state.params.get("log_temperature"),
    )


def loss_of_batch(
    context: Context, size: int | None, weights: Weights
) -> tuple[jax.Array, jax.Array]:
    """Loss of a batch.

    Args:
      size: Number of columns that are computed; None: all of them.

    Returns:
      The weighted mean loss [] of the rows, and the embeddings [B, D] of their items,
      through which no gradient flows.
    """
    if size is not None:
        context = _first_columns(context, size)
    log_temperature = weights.log_temperature
    if log_temperature is None:
        log_temperature = context.program.hyper.log_temperature
    query, candidates = _embed(context, weights)
    query = drop_numbers(context.program, context.state, query)
    query = query * jnp.exp(-log_temperature)
    scores = batch_scores(context, query, candidates)
    loss = loss_of_scores(context, scores, jnp.exp(log_temperature))
    items = candidates[number_of_slots(context.draws) :]
    items = items[context.draws.columns.positive]
    if context.inputs.views is not None:
        loss += _view_loss(context.program, context.inputs.views, weights)
    return loss, jax.lax.stop_gradient(items)


def _view_loss(program: Program, views: Views, weights: Weights) -> jax.Array:
    """Return the weighted self-supervised loss of the step."""
    spec, inputs = program.structure.model.candidate, views.inputs
    embeddings = net.encode("candidate", spec, weights.dense, weights.views, inputs)
    return view_loss(program, views.items, embeddings)


def batch_scores(context: Context, query: jax.Array, candidates: jax.Array) -> Scores:
    """Scores of a batch before any correction.

    Args:
      query: [B, D] embeddings of the queries over the temperature.
      candidates: [B K + C, D] embeddings of the slots, row by row, and of the columns.
    """
    draws = context.draws
    slots = _slot_scores(query, candidates, draws)
    candidates = candidates[number_of_slots(draws) :]
    items = candidates[draws.columns.positive]
    columns = candidates[: draws.columns.log_mult.shape[0]]
    if "bank" in context.state.samplers:
        bank = context.state.samplers["bank"]
        columns = jnp.concatenate([columns, bank.embedding])
    return Scores(query, columns, (query * items).sum(axis=1), slots)


def loss_of_scores(
    context: Context, scores: Scores, temperature: jax.Array
) -> jax.Array:
    """Weighted mean loss of the rows of a batch, corrected and masked.

    Args:
      temperature: [] temperature of the scores.

    Returns:
      [] float32.
    """
    program, structure = context.program, context.program.structure
    terms = batch_terms(
        program, context.data, context.state, context.batch, context.draws
    )
    limit = score_limit(program, context.state, scores.positive)
    rows = terms.rows._replace(limit=limit)
    weight_temperature = program.hyper.weight_temperature
    if structure.loss.weighs_rows and weight_temperature is not None:
        kth = take(context.state.samplers["kth_score"], context.batch.queries.user)
        lead = scores.positive * temperature - kth
        weight = rows.weight * weights_at_k(lead, weight_temperature)
        rows = rows._replace(weight=weight)
    numbers = {
        "temperature": jax.lax.stop_gradient(temperature),
        "num_items": jnp.float32(structure.num_items),
    }
    value = blockwise.batch_loss(
        join(structure.loss, program.hyper.loss | numbers),
        scores._replace(positive=scores.positive + terms.positive),
        terms.columns,
        rows,
        top_k=structure.negatives.top_k,
    )
    if program.hyper.stage_pairs is not None:
        of_stages = stage_loss(program, context.draws, scores, rows)
        value += program.hyper.stage_pairs * of_stages
    if program.hyper.two_way is not None:
        pairs = context.data, context.batch, context.draws
        value += program.hyper.two_way.weight * user_loss(program, *pairs, scores)
    return value


def _embed(context: Context, weights: Weights) -> tuple[jax.Array, jax.Array]:
    """Return embeddings of the queries [B, D] and of slots and columns [B K + C, D]."""
    model, dense = context.program.structure.model, weights.dense
    inputs = context.inputs
    query = weights.embedded
    if query is None:
        query = net.encode("query", model.query, dense, weights.query, inputs.query)
    candidates = net.encode(
        "candidate", model.candidate, dense, weights.candidate, inputs.candidate
    )
    if inputs.place is not None:
        candidates = candidates.at[inputs.place].get(mode="fill", fill_value=0)
    return query, candidates


def _first_columns(context: Context, size: int) -> Context:
    """Return the context with the first ``size`` of merged columns only."""
    draws, inputs = context.draws, context.inputs
    number = number_of_slots(draws) + size
    if inputs.place is None:
        candidate = first_entities(inputs.candidate, number)
        inputs = inputs._replace(candidate=candidate)
    else:
        inputs = inputs._replace(place=inputs.place[:number])
    draws = draws._replace(columns=first_columns(draws.columns, size))
    return context._replace(draws=draws, inputs=inputs)


def number_of_slots(draws: Draws) -> int:
    """Return the number of slots of all rows together, which precede the columns."""
    return 0 if draws.slots is None else draws.slots.items.size


def _slot_scores(query: jax.Array, candidates: jax.Array, draws: Draws) -> jax.Array:
    """Return the scores of the slots [B, K]; K is 0 where rows have none."""
    rows, dim = query.shape
    if draws.slots is None:
        return jnp.zeros((rows, 0), query.dtype)
    slots = candidates[: draws.slots.items.size].reshape(rows, -1, dim)
    return jnp.einsum("bd,bkd->bk", query, slots)
