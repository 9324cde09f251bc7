"""The loss of a batch, and its gradients by the rows of the tables."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.arrays.distinct import distinct_rows
from twotower_jax.arrays.shards import take
from twotower_jax.losses import blockwise
from twotower_jax.losses.logits import Scores
from twotower_jax.losses.terms import ItemTerm
from twotower_jax.model import two_tower as net
from twotower_jax.model.embeddings import Bag, TableRows
from twotower_jax.model.tower import l2_normalize
from twotower_jax.model.two_tower import Inputs, first_entities
from twotower_jax.model.two_tower import candidate_inputs as inputs_of_items
from twotower_jax.negatives.columns import first_columns
from twotower_jax.negatives.masks import RowMasks
from twotower_jax.negatives.mixture import Draws, Terms
from twotower_jax.negatives.source import Batch
from twotower_jax.registry import join
from twotower_jax.training import queries
from twotower_jax.training.sources import mixture_of, row_masks, row_weights
from twotower_jax.training.types import Negatives, Program, TrainData, TrainState
from twotower_jax.training.updates import BagGradient, TouchedRows, as_bags

# The gradient by a table is the sum of its parts.
TableGradients = dict[str, list[TouchedRows | BagGradient]]


class TowerInputs(NamedTuple):
    """Inputs of both towers for a batch."""

    query: Inputs  # of the queries of the B rows
    # Of the slots, row by row, and then of the columns; or of their distinct items.
    candidate: Inputs
    # ([B K + C] int32 index of slots and columns into the distinct items, behind the
    # last one for an id outside of the catalogue,); () where each has its own inputs.
    place: tuple[jax.Array, ...] = ()
    # {name: items that a term of the loss draws, and their inputs}
    terms: Mapping[str, tuple[jax.Array, Inputs]] = MappingProxyType({})


class Weights(NamedTuple):
    """The parameters that a batch touches; the loss is differentiated by them."""

    dense: dict[str, Any]
    query: dict[str, jax.Array]  # {table: [R, dim]} rows that the query tower reads
    candidate: dict[str, jax.Array]  # {table: [R, dim]} rows of the candidate tower
    # {name of a term: {table: [R, dim]} rows that it reads for its items}
    terms: dict[str, dict[str, jax.Array]]
    # ([] log of a learned temperature,); () where it is fixed
    log_temperature: tuple[jax.Array, ...]


class Context(NamedTuple):
    """The constants of the loss of a batch."""

    program: Program
    data: TrainData
    state: TrainState  # before the step
    batch: Batch
    draws: Draws
    inputs: TowerInputs

    @property
    def negatives(self) -> Negatives:
        """The static part of the negatives."""
        return self.program.negatives

    @property
    def masks(self) -> RowMasks:
        """Masks of negatives: items that a row never takes as one."""
        return row_masks(self.program, self.data)

    @property
    def weight(self) -> jax.Array:
        """Weights of the rows, [B] float32."""
        return row_weights(self.program, self.data, self.batch)


def tower_inputs(
    program: Program, data: TrainData, state: TrainState, query: Inputs, draws: Draws
) -> TowerInputs:
    """Inputs of both towers for a batch at the state's step."""
    ids, model = draws.columns.encode_ids, program.model
    slots, place = draws.slots.items.size, ()
    distinct = mixture_of(program, data, state).columns_ascend and not slots
    if slots:
        # Slots come first, because the columns may be cut to the first ones.
        ids = jnp.concatenate([draws.slots.items.reshape(-1), ids])
        if ids.shape[0] > program.num_items:  # each distinct item is encoded once
            ids, own, _ = distinct_rows(ids, program.num_items)
            place = (own,)
    candidates = inputs_of_items(model, data.entities, ids, distinct=distinct)
    item_terms = [term for term in program.terms if isinstance(term, ItemTerm)]
    terms = {term.name: term_inputs(term, program, data, state) for term in item_terms}
    return TowerInputs(query, candidates, place, terms)


def term_inputs(
    term: ItemTerm, program: Program, data: TrainData, state: TrainState
) -> tuple[jax.Array, Inputs]:
    """Return the items that a term draws at the state's step, and their inputs."""
    model = program.model
    key = keys.stream(program.seed, f"loss.{term.name}", state.step)
    drawn = term.draw(key, program.num_items, len(model.candidate.features))
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


# --- the loss -------------------------------------------------------------------------


def loss_of_batch(context: Context, weights: Weights) -> tuple[jax.Array, jax.Array]:
    """Weighted mean loss [] of the rows, and the constant embeddings of their items."""
    program, inputs, dense = context.program, context.inputs, weights.dense
    model, draws = program.model, context.draws
    log_temperature = program.log_temperature
    for learned in weights.log_temperature:
        log_temperature = learned
    query = queries.encode_queries(model.query, dense, weights.query, inputs.query)
    candidates = net.encode(
        "candidate", model.candidate, dense, weights.candidate, inputs.candidate
    )
    for place in inputs.place:
        candidates = candidates.at[place].get(mode="fill", fill_value=0)
    query = queries.drop_numbers(program, context.state, query)
    query = query * jnp.exp(-log_temperature)
    scores = batch_scores(context, query, candidates)
    loss = loss_of_scores(context, scores, jnp.exp(log_temperature))
    items = candidates[draws.slots.items.size :][draws.columns.positive]
    for term in program.terms:
        if isinstance(term, ItemTerm):
            drawn, of_term = inputs.terms[term.name]
            rows = weights.terms[term.name]
            embeddings = net.encode("candidate", model.candidate, dense, rows, of_term)
            loss += term.weight * term.of_items(drawn, l2_normalize(embeddings))
    return loss, jax.lax.stop_gradient(items)


def batch_scores(context: Context, query: jax.Array, candidates: jax.Array) -> Scores:
    """Scores, uncorrected, of queries [B, D] over T and candidates [B K + C, D]."""
    draws = context.draws
    shape, number = draws.slots.items.shape, draws.slots.items.size
    slots = jnp.zeros(shape, query.dtype)
    if number:
        of_slots = candidates[:number].reshape(*shape, query.shape[1])
        slots = jnp.einsum("bd,bkd->bk", query, of_slots)
    candidates = candidates[number:]
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
    program, state = context.program, context.state
    terms = batch_terms(program, context.data, state, context.batch, context.draws)
    limit = tuple(
        score_filter.limit(state.step, scores.positive)
        for score_filter in program.filters
    )
    rows = terms.rows._replace(limit=limit)
    for weight_temperature in program.weight_temperature:
        kth = take(context.state.samplers["kth_score"], context.batch.queries.user)
        lead = scores.positive * temperature - kth
        weight = rows.weight * weights_at_k(lead, weight_temperature)
        rows = rows._replace(weight=weight)
    numbers = {
        "temperature": jax.lax.stop_gradient(temperature),
        "num_items": jnp.float32(program.num_items),
    }
    value = blockwise.batch_loss(
        join(program.loss, numbers),
        scores._replace(positive=scores.positive + terms.positive),
        terms.columns,
        rows,
        top_k=program.negatives.top_k,
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


def weights_at_k(lead: jax.Array, temperature: jax.Array) -> jax.Array:
    """Weights sigmoid((s_p - b_u) / T_w) [B] of the rows, b_u the k-th best score.

    The ``lead`` [B] is s_p - b_u, scores before the temperature of the loss. Gradients
    flow to the scores, as in the code of Yang et al., Breaking the Top-K Barrier:
    Advancing Top-K Ranking Metrics Optimization in Recommender Systems, KDD 2025,
    eq. 3.5.
    """
    return jax.nn.sigmoid(lead / temperature)


# --- the gradient by what a batch touches ---------------------------------------------


def loss_and_gradient(
    context: Context, weights: Weights
) -> tuple[tuple[jax.Array, jax.Array], Weights]:
    """The result of `loss_of_batch` and its gradient.

    Merged columns have their usual, static size; the rare batch with more distinct
    items takes the branch of full size, with the same result.
    """

    def gradient_of(context: Context) -> Any:
        return jax.value_and_grad(partial(loss_of_batch, context), has_aux=True)

    program, draws, inputs = context.program, context.draws, context.inputs
    size, ids = program.merged_size, draws.columns.encode_ids
    if not 0 < size < ids.shape[0]:
        return gradient_of(context)(weights)
    number = draws.slots.items.size + size
    if inputs.place:
        inputs = inputs._replace(place=(inputs.place[0][:number],))
    else:
        candidate = first_entities(inputs.candidate, number)
        inputs = inputs._replace(candidate=candidate)
    draws = draws._replace(columns=first_columns(draws.columns, size))
    return jax.lax.cond(
        (ids[size:] >= program.num_items).all(),
        gradient_of(context._replace(draws=draws, inputs=inputs)),
        gradient_of(context),
        weights,
    )


# --- the gradient by the tables, with that of the L2 penalty --------------------------


class _Counted(NamedTuple):
    """Entities of one tower, and the weights with which the penalty counts them."""

    inputs: Inputs
    rows: dict[str, TableRows]  # features of one value, of the counted entities alone
    weight: jax.Array  # [E] of every entity, 0 for one that is not counted
    row_weight: jax.Array  # [B] of the counted entities


def table_gradients(
    context: Context, weights: Weights, gradient: Weights
) -> TableGradients:
    """Gradients by the tables that a batch touches."""
    tables: TableGradients = {}
    for side, entities in _penalised(context).items():
        inputs = entities.inputs
        values, moved = (
            tree.terms[side] if side in tree.terms else getattr(tree, side)
            for tree in (weights, gradient)
        )
        for name, rows in inputs.rows.items():
            if name not in inputs.bags:
                norms = look_ups(entities.rows[name], entities.row_weight)
                added = moved[name] + norms[:, None] * values[name]
                part = TouchedRows(rows.ids, values[name], added)
                tables.setdefault(name, []).append(part)
        for name, bag in inputs.bags.items():
            decay = _bag_decay(entities, bag)
            if name in inputs.rows:
                rows = inputs.rows[name]
                factor = look_ups(rows, decay.reshape(-1))
                summed = TouchedRows(rows.ids, values[name], moved[name])
                part = as_bags(summed)._replace(decay=factor[:, None])
            else:
                vectors = moved[name] / bag.total[:, None]
                part = BagGradient(bag.ids, bag.weight, vectors, decay)
            tables.setdefault(name, []).append(part)
    return tables


def _penalised(context: Context) -> dict[str, _Counted]:
    """Return the entities of a batch, by the field of its weights that they read."""
    program, draws, inputs = context.program, context.draws, context.inputs
    weight = program.optimizer.l2 * context.weight
    place = draws.slots.items.size + draws.columns.positive
    for distinct in inputs.place:
        place = distinct[place]
    positives = {
        name: rows._replace(
            place=place if rows.place is None else rows.place[place],
            present=rows.present[place],
        )
        for name, rows in inputs.candidate.rows.items()
    }
    number = draws.slots.items.size + draws.columns.encode_ids.shape[0]
    if inputs.place:
        number = program.num_items
    every = jnp.zeros(number, weight.dtype).at[place].add(weight)
    query, candidate = inputs.query, inputs.candidate
    entities = {
        "query": _Counted(query, query.rows, weight, weight),
        "candidate": _Counted(candidate, positives, every, weight),
    }
    for name, (items, of_term) in inputs.terms.items():
        none = jnp.zeros(items.shape[0], weight.dtype)
        entities[name] = _Counted(of_term, of_term.rows, none, none)
    return entities


def _bag_decay(entities: _Counted, bag: Bag) -> jax.Array:
    """Return the weight [E, width] with which the penalty counts each value of bags.

    The weight of an entity is spread over its values in proportion to theirs; bags of
    the places of a history share the weight of their query. Of a sequence the newest
    item has all of it, so that each item counts once per row that it adds.
    """
    weight, history = entities.weight, entities.inputs.history
    if history and history.tokens:
        tokens = history.tokens
        if bag.ids.shape[0] == tokens.place.size:
            every = jnp.zeros(tokens.place.size, weight.dtype)
            weight = every.at[tokens.newest].set(weight)
    elif bag.ids.shape[0] != weight.shape[0] and history is not None:
        present = history.present
        number = jnp.maximum(present.sum(axis=1, keepdims=True), 1)
        weight = (present * (weight[:, None] / number)).reshape(-1)
    return bag.weight * (weight / bag.total)[:, None]


def look_ups(rows: TableRows, weight: jax.Array) -> jax.Array:
    """Weight [R] with which each row of a table is looked up by entities of [E]."""
    total = jnp.zeros(rows.ids.shape[0], weight.dtype)
    return total.at[rows.place].add(rows.present.astype(weight.dtype) * weight)
