"""Inputs and embeddings of the queries of a batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.model import two_tower as net
from twotower_jax.model.embeddings import Bag, gather_bags
from twotower_jax.model.history import HistoryInputs, HistorySpec
from twotower_jax.model.inputs import Inputs, query_inputs, stream_inputs
from twotower_jax.model.sequence import Dropout
from twotower_jax.model.tower import Model, l2_normalize
from twotower_jax.negatives.columns import distinct_rows
from twotower_jax.negatives.source import Batch
from twotower_jax.training.types import Program, TrainData, TrainState
from twotower_jax.training.updates import BagGradient, add_bags


def drop_numbers(program: Program, state: TrainState, query: jax.Array) -> jax.Array:
    """Query embeddings of a step, some of whose numbers are dropped.

    Each number is kept with probability 1 - p and then divided by it, so that a dot
    product keeps its mean; a cosine gets its length 1 again, as if the numbers had been
    dropped before the normalisation. The masks are a function of seed and step.

    Args:
      query: [B, D] embeddings of the queries.

    Returns:
      [B, D] float32; the same ones without dropout. A row of zeros stays one.

    References:
      Srivastava et al., Dropout, JMLR 2014. Wu et al., BSL, ICDE 2024, code: .1 on the
      embeddings of users.
    """
    if "query" not in program.hyper.dropout:
        return query
    share = program.hyper.dropout["query"]
    key = keys.stream(program.hyper.seed, "towers.query_dropout", state.step)
    kept = jax.random.uniform(key, query.shape) >= share
    query = jnp.where(kept, query / (1 - share), 0)
    normalize = program.structure.model.query.normalize
    return l2_normalize(query) if normalize else query


# --- Inputs of the query tower for the rows of a batch --------------------------------


def batch_queries(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> Inputs:
    """Inputs of the query tower for the rows of a batch.

    Rows that are sequences end to end read each item of a sequence once. The dropout
    of a transformer is a function of seed and step.
    """
    model = program.structure.model
    if program.structure.end_to_end:
        inputs = stream_inputs(model, data.entities, batch.queries)
    else:
        inputs = query_inputs(model, data.entities, batch.queries, batch.items)
    history = inputs.history
    if "sequence" not in program.hyper.dropout or not history:
        return inputs
    share = program.hyper.dropout["sequence"]
    key = keys.stream(program.hyper.seed, "towers.sequence.dropout", state.step)
    return inputs._replace(history=history._replace(dropout=Dropout(key, share)))


# --- Queries that read each item of a history, in chunks of rows ----------------------
# The vectors of the items of all histories of a batch, [B, length, dim], are the
# largest arrays of such a step. Where they are many, the embeddings of the queries are
# computed chunk by chunk and their places are forgotten; the loss is differentiated by
# the embeddings; and each chunk is computed again to pass its part of the gradient on.
# The gradient is that of the whole batch but for the order of its sums.


# Items of histories whose vectors are held at a time: 64 MiB of dimension 64.
PLACES = 2**18
# Items of histories that a transformer reads at a time, times its layers and dimension:
# 65,536 with two layers of 64, which keep about 12 kB for each item.
NUMBERS = 2**23

Rows = dict[str, jax.Array]


class QueryTower(NamedTuple):
    """The query tower of a batch.

    Attributes:
      model: Both towers.
      inputs: Inputs of the queries of the B rows.
      dense: Parameters of the towers.
      rows: {table: [R, dim]} rows that the tower reads; those of histories are not
        used.
      tables: All tables.
    """

    model: Model
    inputs: Inputs
    dense: dict[str, Any]
    rows: Rows
    tables: Rows

    @property
    def other_rows(self) -> Rows:
        """The rows that the tower reads, histories excepted."""
        names = _tables(self.model)
        return {name: rows for name, rows in self.rows.items() if name not in names}


class SummedRows(NamedTuple):
    """Gradient of the loss by the rows of a table, each row once.

    Attributes:
      ids: [R] int32 distinct rows, padded with the table's size.
      place: [n] int32 index into ``ids`` of every id of the bags; R for a missing one.
      gradient: [R, dim].
    """

    ids: jax.Array
    place: jax.Array
    gradient: jax.Array


class QueryGradient(NamedTuple):
    """Gradient of the loss by the parameters of the query tower.

    Attributes:
      dense: By the parameters of the towers.
      rows: By the rows that the tower reads, histories excepted.
      histories: {table: gradient} by the tables of histories.
    """

    dense: dict[str, Any]
    rows: Rows
    histories: dict[str, SummedRows]


def rows_of_chunk(model: Model, inputs: Inputs) -> int:
    """Rows of a chunk, or 0 where the batch is computed as a whole."""
    spec, history = model.query.history, inputs.history
    if not (spec and history and spec.by_place):
        return 0
    if history.present.ndim == 1:  # sequences end to end read an item once
        return 0
    rows, length = history.present.shape
    most = places_of_chunk(spec)
    # On a mesh each device has a part of the rows, in one piece.
    if rows * length <= most or jax.sharding.get_abstract_mesh().size > 1:
        return 0
    return max(1, most // length)


def places_of_chunk(spec: HistorySpec) -> int:
    """Items of histories whose vectors are held at a time."""
    if not spec.sequence:
        return PLACES
    return NUMBERS // (spec.sequence.layers * spec.sequence.dim)


def query_vectors(model: Model, inputs: Inputs, params: dict[str, Any]) -> jax.Array:
    """Embeddings of the queries of a batch, in chunks where they are many.

    Returns:
      [B, D].
    """
    dense, tables = params["dense"], params["tables"]
    rows = net.gather_rows(tables, inputs)
    chunk = rows_of_chunk(model, inputs)
    if not chunk:
        return net.encode("query", model.query, dense, rows, inputs)
    return embed_chunks(QueryTower(model, inputs, dense, rows, tables), chunk)


def embed_chunks(queries: QueryTower, size: int) -> jax.Array:
    """Embeddings of the queries.

    Returns:
      [B, D].
    """
    number, dim = _number(queries), queries.model.query.dim

    def fill(turn: jax.Array, out: jax.Array) -> jax.Array:
        chunk = _chunk(queries, jnp.minimum(turn * size, number - size), size)
        rows = queries.other_rows
        vectors = _encode(queries, chunk, queries.dense, rows, chunk.places)
        return jax.lax.dynamic_update_slice(out, vectors, (chunk.first, 0))

    empty = jnp.zeros((number, dim), jax.tree.leaves(queries.tables)[0].dtype)
    return jax.lax.fori_loop(0, -(-number // size), fill, empty)


def gradient_of_chunks(
    queries: QueryTower, size: int, gradient: jax.Array
) -> QueryGradient:
    """Gradient of the loss by the parameters of the query tower.

    Args:
      gradient: [B, D] gradient of the loss by the embeddings of the queries.
    """
    number, tables = _number(queries), queries.tables
    distinct = {
        name: distinct_rows(
            queries.inputs.bags[name].ids.reshape(-1), len(tables[name])
        )
        for name in _tables(queries.model)
    }

    def add(turn: jax.Array, total: Any) -> Any:
        chunk = _chunk(queries, jnp.minimum(turn * size, number - size), size)
        own = jax.lax.dynamic_slice_in_dim(gradient, chunk.first, size)
        # The last chunk begins earlier, with rows that were counted.
        counted = chunk.first + jnp.arange(size) < turn * size
        *others, vectors = _pull(queries, chunk, jnp.where(counted[:, None], 0, own))
        sums = {}
        for name, one in distinct.items():
            bag = chunk.inputs.bags[name]
            place = one.place.reshape(-1, bag.ids.shape[1])
            place = _slice(place, chunk.first, size, number)
            added = _gradient_of(bag, vectors[name])
            sums[name] = add_bags(total[2][name], added, place)
        return *jax.tree.map(jnp.add, total[:2], tuple(others)), sums

    nothing = jax.tree.map(jnp.zeros_like, (queries.dense, queries.other_rows))
    sums = {
        name: jnp.zeros((len(one.ids), tables[name].shape[1]), gradient.dtype)
        for name, one in distinct.items()
    }
    turns = -(-number // size)
    dense, rows, sums = jax.lax.fori_loop(0, turns, add, (*nothing, sums))
    histories = {
        name: SummedRows(one.ids, one.place, sums[name])
        for name, one in distinct.items()
    }
    return QueryGradient(dense, rows, histories)


class _Chunk(NamedTuple):
    """Some queries of a batch.

    Attributes:
      first: [] the first of them.
      size: Their number.
      inputs: Their inputs.
      places: {table: [size length, dim]} vectors of the items of their histories.
    """

    first: jax.Array
    size: int
    inputs: Inputs
    places: Rows


def _chunk(queries: QueryTower, first: jax.Array, size: int) -> _Chunk:
    """Return some queries with the vectors of their histories."""
    number, inputs = _number(queries), queries.inputs

    def part(tree: Any) -> Any:
        return jax.tree.map(lambda one: _slice(one, first, size, number), tree)

    rows = {
        name: one._replace(place=part(one.place), present=part(one.present))
        for name, one in inputs.rows.items()
    }
    history = _history_of(inputs.history, first, part) if inputs.history else None
    own = Inputs(rows, part(inputs.bags), part(inputs.numbers), history)
    tables = queries.tables
    places = {
        name: gather_bags(tables[name], own.bags[name])
        for name in _tables(queries.model)
    }
    return _Chunk(first, size, own, places)


def _history_of(
    history: HistoryInputs, first: jax.Array, part: Callable[[Any], Any]
) -> HistoryInputs:
    """Return the histories of some queries."""
    own = part(history._replace(dropout=None))
    if own.tokens:
        before = first * history.present.shape[1]
        newest = own.tokens.newest - before
        own = own._replace(tokens=own.tokens._replace(newest=newest))
    if history.dropout:
        own = own._replace(dropout=history.dropout._replace(first=first))
    return own


def _encode(
    queries: QueryTower, chunk: _Chunk, dense: dict[str, Any], rows: Rows, places: Rows
) -> jax.Array:
    """Return the embeddings of the queries of a chunk."""
    number = _number(queries)
    own = {
        name: _slice(one, chunk.first, chunk.size, number)
        if name in chunk.inputs.bags
        else one
        for name, one in rows.items()
    }
    spec = queries.model.query
    return net.encode("query", spec, dense, own | places, chunk.inputs)


def _pull(
    queries: QueryTower, chunk: _Chunk, gradient: jax.Array
) -> tuple[dict[str, Any], Rows, Rows]:
    """Return gradients by dense parameters, rows and places of a chunk."""

    def encode(dense: Any, rows: Rows, places: Rows) -> jax.Array:
        return _encode(queries, chunk, dense, rows, places)

    _, pull = jax.vjp(encode, queries.dense, queries.other_rows, chunk.places)
    return pull(gradient)


def _tables(model: Model) -> dict[str, int]:
    """Return the tables that histories read, and their numbers of rows."""
    return model.query.history.tables if model.query.history else {}


def _number(queries: QueryTower) -> int:
    """Return the number of queries."""
    history = queries.inputs.history
    return history.present.shape[0] if history else 0


def _slice(values: jax.Array, first: jax.Array, size: int, number: int) -> jax.Array:
    """Return the entries of some queries, of which each has as many of ``number``."""
    each = values.shape[0] // number
    return jax.lax.dynamic_slice_in_dim(values, first * each, size * each)


def _gradient_of(bag: Bag, vectors: jax.Array) -> BagGradient:
    """Return the gradient by the rows of bags, given that by their vectors."""
    decay = jnp.zeros_like(bag.weight)
    return BagGradient(bag.ids, bag.weight, vectors / bag.total[:, None], decay)
