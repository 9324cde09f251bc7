"""Inputs and embeddings of the queries of a batch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.arrays.distinct import distinct_rows
from twotower_jax.model import two_tower as net
from twotower_jax.model.embeddings import gather_bags
from twotower_jax.model.sequence import Dropout
from twotower_jax.model.tower import Model, l2_normalize
from twotower_jax.model.two_tower import Inputs, query_inputs, stream_inputs
from twotower_jax.negatives.source import Batch
from twotower_jax.training.types import Program, TrainData, TrainState
from twotower_jax.training.updates import BagGradient, add_bags


def drop_numbers(program: Program, state: TrainState, query: jax.Array) -> jax.Array:
    """Query embeddings of a step, some of whose numbers are dropped.

    Each number is kept with probability 1 - p and then divided by it; a cosine gets its
    length 1 again, as if the numbers had been dropped before the normalisation
    (Srivastava et al., Dropout, JMLR 2014; Wu et al., BSL, ICDE 2024).
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

    Rows that are sequences end to end read each item of a sequence once.
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
    """The query tower of a batch of B rows."""

    model: Model
    inputs: Inputs
    dense: dict[str, Any]  # parameters of the towers
    rows: Rows  # {table: [R, dim]} that the tower reads; those of histories unused
    tables: Rows  # all tables

    @property
    def of_histories(self) -> dict[str, int]:
        """The tables that histories read, and their numbers of rows."""
        return self.model.query.history.tables if self.model.query.history else {}

    @property
    def other_rows(self) -> Rows:
        """The rows that the tower reads, histories excepted."""
        names = self.of_histories
        return {name: rows for name, rows in self.rows.items() if name not in names}

    @property
    def number(self) -> int:
        """The number of queries."""
        history = self.inputs.history
        return history.present.shape[0] if history else 0

    def part(self, tree: Any, first: jax.Array, size: int) -> Any:
        """Return the entries of queries; each query has as many as any other."""

        def sliced(values: jax.Array) -> jax.Array:
            each = values.shape[0] // self.number
            return jax.lax.dynamic_slice_in_dim(values, first * each, size * each)

        return jax.tree.map(sliced, tree)


class SummedRows(NamedTuple):
    """Gradient of the loss by the rows of a table, each row once."""

    ids: jax.Array  # [R] int32 distinct rows, padded with the table's size
    place: jax.Array  # [n] index into ``ids`` of every id of bags; R for a missing one
    gradient: jax.Array  # [R, dim]


def rows_of_chunk(model: Model, inputs: Inputs) -> int:
    """Rows of a chunk, or 0 where the batch is computed as a whole."""
    spec, history = model.query.history, inputs.history
    if not (spec and history and spec.by_place):
        return 0
    if history.present.ndim == 1:  # sequences end to end read an item once
        return 0
    rows, length = history.present.shape
    most, layers = PLACES, spec.sequence
    if layers:
        most = NUMBERS // (layers.layers * layers.dim)
    # On a mesh each device has a part of the rows, in one piece.
    if rows * length <= most or jax.sharding.get_abstract_mesh().size > 1:
        return 0
    return max(1, most // length)


def query_vectors(model: Model, inputs: Inputs, params: dict[str, Any]) -> jax.Array:
    """Embeddings [B, D] of the queries of a batch, in chunks where they are many."""
    dense, tables = params["dense"], params["tables"]
    rows = net.gather_rows(tables, inputs)
    chunk = rows_of_chunk(model, inputs)
    if not chunk:
        return net.encode("query", model.query, dense, rows, inputs)
    return embed_chunks(QueryTower(model, inputs, dense, rows, tables), chunk)


def embed_chunks(queries: QueryTower, size: int) -> jax.Array:
    """Embeddings [B, D] of the queries."""
    number, dim = queries.number, queries.model.query.dim

    def fill(turn: jax.Array, out: jax.Array) -> jax.Array:
        chunk = _chunk(queries, jnp.minimum(turn * size, number - size), size)
        rows = queries.other_rows
        vectors = _encode(queries, chunk, queries.dense, rows, chunk.places)
        return jax.lax.dynamic_update_slice(out, vectors, (chunk.first, 0))

    empty = jnp.zeros((number, dim), jax.tree.leaves(queries.tables)[0].dtype)
    return jax.lax.fori_loop(0, -(-number // size), fill, empty)


def gradient_of_chunks(
    queries: QueryTower, size: int, gradient: jax.Array
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Gradients by dense parameters and rows, of that by the embeddings [B, D].

    Those by the rows of histories are `SummedRows`.
    """
    number, tables = queries.number, queries.tables
    distinct = {
        name: distinct_rows(
            queries.inputs.bags[name].ids.reshape(-1), len(tables[name])
        )
        for name in queries.of_histories
    }

    def add(turn: jax.Array, total: Any) -> Any:
        chunk = _chunk(queries, jnp.minimum(turn * size, number - size), size)
        own = jax.lax.dynamic_slice_in_dim(gradient, chunk.first, size)
        # The last chunk begins earlier, with rows that were counted.
        counted = chunk.first + jnp.arange(size) < turn * size

        def encode(dense: Any, rows: Rows, places: Rows) -> jax.Array:
            return _encode(queries, chunk, dense, rows, places)

        _, pull = jax.vjp(encode, queries.dense, queries.other_rows, chunk.places)
        *others, vectors = pull(jnp.where(counted[:, None], 0, own))
        sums = {}
        for name, rows in distinct.items():
            bag = chunk.inputs.bags[name]
            place = rows.place.reshape(-1, bag.ids.shape[1])
            place = queries.part(place, chunk.first, size)
            by_bag = vectors[name] / bag.total[:, None]
            decay = jnp.zeros_like(bag.weight)
            added = BagGradient(bag.ids, bag.weight, by_bag, decay)
            sums[name] = add_bags(total[2][name], added, place)
        return *jax.tree.map(jnp.add, total[:2], tuple(others)), sums

    nothing = jax.tree.map(jnp.zeros_like, (queries.dense, queries.other_rows))
    sums = {
        name: jnp.zeros((len(rows.ids), tables[name].shape[1]), gradient.dtype)
        for name, rows in distinct.items()
    }
    turns = -(-number // size)
    dense, rows, sums = jax.lax.fori_loop(0, turns, add, (*nothing, sums))
    histories = {
        name: SummedRows(distinct[name].ids, distinct[name].place, total)
        for name, total in sums.items()
    }
    return dense, rows | histories


class _Chunk(NamedTuple):
    first: jax.Array
    size: int
    inputs: Inputs
    places: Rows  # {table: [size length, dim]} vectors of the items of histories


def _chunk(queries: QueryTower, first: jax.Array, size: int) -> _Chunk:
    inputs, tables = queries.inputs, queries.tables

    def part(tree: Any) -> Any:
        return queries.part(tree, first, size)

    rows = {
        name: of_table._replace(
            place=part(of_table.place), present=part(of_table.present)
        )
        for name, of_table in inputs.rows.items()
    }
    history = inputs.history
    if history:
        before = first * history.present.shape[1]
        dropout = history.dropout and history.dropout._replace(first=first)
        history = part(history._replace(dropout=None))._replace(dropout=dropout)
        if history.tokens:
            newest = history.tokens.newest - before
            history = history._replace(tokens=history.tokens._replace(newest=newest))
    own = Inputs(rows, part(inputs.bags), part(inputs.numbers), history)
    places = {
        name: gather_bags(tables[name], own.bags[name]) for name in queries.of_histories
    }
    return _Chunk(first, size, own, places)


def _encode(
    queries: QueryTower, chunk: _Chunk, dense: dict[str, Any], rows: Rows, places: Rows
) -> jax.Array:
    own = {
        name: queries.part(values, chunk.first, chunk.size)
        if name in chunk.inputs.bags
        else values
        for name, values in rows.items()
    }
    spec = queries.model.query
    return net.encode("query", spec, dense, own | places, chunk.inputs)
