"""The loss of a batch as a function of the parameters that the batch touches."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.data.shards import take
from twotower_jax.losses import blockwise
from twotower_jax.losses.logits import Scores
from twotower_jax.losses.terms import ItemTerm
from twotower_jax.model import two_tower as net
from twotower_jax.model.inputs import Inputs, first_entities
from twotower_jax.model.inputs import candidate_inputs as inputs_of_items
from twotower_jax.model.tower import l2_normalize
from twotower_jax.negatives.columns import distinct_rows, first_columns
from twotower_jax.negatives.masks import RowMasks
from twotower_jax.negatives.mixture import Draws, Terms
from twotower_jax.negatives.source import Batch
from twotower_jax.registry import join
from twotower_jax.training.kth_scores import weights_at_k
from twotower_jax.training.queries import drop_numbers
from twotower_jax.training.sources import mixture_of, row_masks, row_weights
from twotower_jax.training.types import (
    Negatives,
    Program,
    Structure,
    TrainData,
    TrainState,
)


class TowerInputs(NamedTuple):
    """Inputs of both towers for a batch.

    Attributes:
      query: Inputs of the queries of the B rows.
      candidate: Inputs of the slots, row by row, and then of the columns; or of their
        distinct items.
      place: ([B K + C] int32 index of slots and columns into the distinct items, behind
        the last one for an id outside of the catalogue,); () where each slot and
        column has inputs of its own.
      terms: {name: items that a term of the loss draws, and their inputs}.
    """

    query: Inputs
    candidate: Inputs
    place: tuple[jax.Array, ...] = ()
    terms: Mapping[str, tuple[jax.Array, Inputs]] = MappingProxyType({})


class Weights(NamedTuple):
    """The parameters that a batch touches; the loss is differentiated by them.

    Attributes:
      dense: Parameters of the towers.
      query: {table: [R, dim]} rows that the query tower reads; of a gradient, those of
        histories in chunks are `SummedRows`.
      candidate: {table: [R, dim]} rows that the candidate tower reads.
      terms: {name of a term: {table: [R, dim]} rows that it reads for its items}.
      log_temperature: ([] log of a learned temperature,); () where it is fixed.
      embedded: ([B, D] embeddings of the queries,) where they are computed in chunks;
        the query tower then reads no rows.
    """

    dense: dict[str, Any]
    query: dict[str, Any]
    candidate: dict[str, jax.Array]
    terms: dict[str, dict[str, jax.Array]]
    log_temperature: tuple[jax.Array, ...]
    embedded: tuple[Any, ...] = ()


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

    @property
    def negatives(self) -> Negatives:
        """The static part of the negatives."""
        return self.program.structure.negatives

    @property
    def masks(self) -> RowMasks:
        """Masks of negatives: items that a row never takes as one."""
        return row_masks(self.program, self.data)

    @property
    def weight(self) -> jax.Array:
        """Weights of the rows, [B] float32."""
        return row_weights(self.program, self.data, self.batch)


def tower_inputs(
    program: Program, data: TrainData, state: TrainState, queries: Inputs, draws: Draws
) -> TowerInputs:
    """Inputs of both towers for a batch at the state's step.

    Where slots and columns are more than the items of the catalogue, each distinct item
    is encoded once.
    """
    structure, ids = program.structure, draws.columns.encode_ids
    slots, place = draws.slots.items.size, ()
    distinct = columns_ascend(structure) and not slots
    if slots:
        # Slots come first, because the columns may be cut to the first ones.
        ids = jnp.concatenate([draws.slots.items.reshape(-1), ids])
        if ids.shape[0] > structure.num_items:
            ids, own, _ = distinct_rows(ids, structure.num_items)
            place = (own,)
    candidates = inputs_of_items(structure.model, data.entities, ids, distinct=distinct)
    item_terms = [term for term in program.terms if isinstance(term, ItemTerm)]
    terms = {term.name: term_inputs(term, program, data, state) for term in item_terms}
    return TowerInputs(queries, candidates, place, terms)


def term_inputs(
    term: ItemTerm, program: Program, data: TrainData, state: TrainState
) -> tuple[jax.Array, Inputs]:
    """Return the items that a term draws at the state's step, and their inputs."""
    model = program.structure.model
    key = keys.stream(program.hyper.seed, f"loss.{term.name}", state.step)
    drawn = term.draw(key, program.structure.num_items, len(model.candidate.features))
    inputs = inputs_of_items(model, data.entities, drawn.items, drawn.shown)
    return drawn.items, inputs


def gather_weights(state: TrainState, inputs: TowerInputs) -> Weights:
    """The parameters that a batch touches."""
    tables, params = state.params["tables"], state.params
    terms = inputs.terms.items()
    return Weights(
        params["dense"],
        net.gather_rows(tables, inputs.query),
        net.gather_rows(tables, inputs.candidate),
        {name: net.gather_rows(tables, its_inputs) for name, (_, its_inputs) in terms},
        (params["log_temperature"],) if "log_temperature" in params else (),
    )


def loss_of_batch(context: Context, weights: Weights) -> tuple[jax.Array, jax.Array]:
    """Loss of a batch.

    Returns:
      The weighted mean loss [] of the rows, and the embeddings [B, D] of their items,
      through which no gradient flows.
    """
    log_temperature = context.program.hyper.log_temperature
    for learned in weights.log_temperature:
        log_temperature = learned
    query, candidates = _embed(context, weights)
    query = drop_numbers(context.program, context.state, query)
    query = query * jnp.exp(-log_temperature)
    scores = batch_scores(context, query, candidates)
    loss = loss_of_scores(context, scores, jnp.exp(log_temperature))
    items = candidates[number_of_slots(context.draws) :]
    items = items[context.draws.columns.positive]
    spec = context.program.structure.model.candidate
    for term in context.program.terms:
        if isinstance(term, ItemTerm):
            drawn, inputs = context.inputs.terms[term.name]
            rows = weights.terms[term.name]
            embeddings = net.encode("candidate", spec, weights.dense, rows, inputs)
            loss += term.weight * term.of_items(drawn, l2_normalize(embeddings))
    return loss, jax.lax.stop_gradient(items)


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
    if draws.stored:
        stored = [entries.embedding for entries in draws.stored]
        columns = jnp.concatenate([columns, *stored])
    return Scores(query, columns, (query * items).sum(axis=1), slots)


def loss_of_scores(
    context: Context, scores: Scores, temperature: jax.Array
) -> jax.Array:
    """Weighted mean loss of the rows of a batch, corrected and masked."""
    program, structure = context.program, context.program.structure
    hyper, state = program.hyper, context.state
    terms = batch_terms(program, context.data, state, context.batch, context.draws)
    limit = tuple(one.limit(state.step, scores.positive) for one in hyper.filters)
    rows = terms.rows._replace(limit=limit)
    for weight_temperature in hyper.weight_temperature:
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
    for term in program.terms:
        if not isinstance(term, ItemTerm):
            value += term.weight * term.of_scores(context, scores, rows)
    return value


def batch_terms(
    program: Program, data: TrainData, state: TrainState, batch: Batch, draws: Draws
) -> Terms:
    """Masks and corrections of a batch at the state's step."""
    batch = batch._replace(step=state.step)
    weight = row_weights(program, data, batch)
    mixture = mixture_of(program, data, state)
    return mixture.terms(state.samplers, batch, draws, weight)


def columns_ascend(structure: Structure) -> bool:
    """Whether the items of the columns are distinct and sorted, padding last."""
    merged = structure.merged_size > 0 and not structure.negatives.distinct
    return merged or structure.loss.whole_catalogue


def _embed(context: Context, weights: Weights) -> tuple[jax.Array, jax.Array]:
    """Return embeddings of the queries [B, D] and of slots and columns [B K + C, D]."""
    model, dense = context.program.structure.model, weights.dense
    inputs = context.inputs
    if weights.embedded:
        query = weights.embedded[0]
    else:
        query = net.encode("query", model.query, dense, weights.query, inputs.query)
    candidates = net.encode(
        "candidate", model.candidate, dense, weights.candidate, inputs.candidate
    )
    for place in inputs.place:
        candidates = candidates.at[place].get(mode="fill", fill_value=0)
    return query, candidates


def first_columns_alone(context: Context, size: int) -> Context:
    """Return the context with the first ``size`` of merged columns only."""
    draws, inputs = context.draws, context.inputs
    number = number_of_slots(draws) + size
    if inputs.place:
        inputs = inputs._replace(place=(inputs.place[0][:number],))
    else:
        candidate = first_entities(inputs.candidate, number)
        inputs = inputs._replace(candidate=candidate)
    draws = draws._replace(columns=first_columns(draws.columns, size))
    return context._replace(draws=draws, inputs=inputs)


def number_of_slots(draws: Draws) -> int:
    """Return the number of slots of all rows together, which precede the columns."""
    return draws.slots.items.size


def _slot_scores(query: jax.Array, candidates: jax.Array, draws: Draws) -> jax.Array:
    """Return the scores of the slots [B, K]; K is 0 where rows have none."""
    shape = draws.slots.items.shape
    if not draws.slots.items.size:
        return jnp.zeros(shape, query.dtype)
    slots = candidates[: number_of_slots(draws)].reshape(*shape, query.shape[1])
    return jnp.einsum("bd,bkd->bk", query, slots)
