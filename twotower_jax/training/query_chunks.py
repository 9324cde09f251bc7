"""Queries with attention over histories, in chunks of rows: a large batch fits.

The vectors of the items of all histories of a batch, [B, length, dim], are the largest
arrays of such a step. Where they are many, the embeddings of the queries are computed
chunk by chunk and their places are forgotten; the loss is differentiated by the
embeddings; and each chunk is computed again to pass its part of the gradient on. The
gradient is that of the whole batch but for the order of its sums.

References:
  Gao et al., Scaling deep contrastive learning batch size under memory limited setup,
  RepL4NLP 2021 (GradCache).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.model import two_tower as net
from twotower_jax.model.bags import Bag, gather_bags
from twotower_jax.model.specs import Model
from twotower_jax.training.row_updates import BagGradient, add_bags, distinct_rows

# Items of histories whose vectors are held at a time: 64 MiB of dimension 64.
PLACES = 2**18

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
    inputs: net.Inputs
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


def rows_of_chunk(model: Model, inputs: net.Inputs) -> int | None:
    """Rows of a chunk, or None where the batch is computed as a whole.

    Args:
      model: Both towers.
      inputs: Inputs of the queries.
    """
    spec, history = model.query.history, inputs.history
    if spec is None or history is None or spec.pooling != "attention":
        return None
    rows, length = history.present.shape
    # On a mesh each device has a part of the rows, in one piece.
    if rows * length <= PLACES or jax.sharding.get_abstract_mesh().size > 1:
        return None
    return max(1, PLACES // length)


def query_vectors(
    model: Model, inputs: net.Inputs, params: dict[str, Any]
) -> jax.Array:
    """Embeddings of the queries of a batch, in chunks where they are many.

    Args:
      model: Both towers.
      inputs: Inputs of the queries.
      params: Parameters.

    Returns:
      [B, D].
    """
    dense, tables = params["dense"], params["tables"]
    rows = net.gather_rows(tables, inputs)
    chunk = rows_of_chunk(model, inputs)
    if chunk is None:
        return net.encode("query", model.query, dense, rows, inputs)
    return embed_chunks(QueryTower(model, inputs, dense, rows, tables), chunk)


def embed_chunks(queries: QueryTower, chunk: int) -> jax.Array:
    """Embeddings of the queries.

    Args:
      queries: The query tower of a batch.
      chunk: Rows of a chunk.

    Returns:
      [B, D].
    """
    number, dim = _number(queries), queries.model.query.dim

    def fill(turn: jax.Array, out: jax.Array) -> jax.Array:
        first = jnp.minimum(turn * chunk, number - chunk)
        part, places = _chunk(queries, first, chunk)
        vectors = _encode(
            queries, part, first, queries.dense, queries.other_rows, places
        )
        return jax.lax.dynamic_update_slice(out, vectors, (first, 0))

    empty = jnp.zeros((number, dim), jax.tree.leaves(queries.tables)[0].dtype)
    return jax.lax.fori_loop(0, -(-number // chunk), fill, empty)


def gradient_of_chunks(
    queries: QueryTower, chunk: int, gradient: jax.Array
) -> QueryGradient:
    """Gradient of the loss by the parameters of the query tower.

    Args:
      queries: The query tower of a batch.
      chunk: Rows of a chunk.
      gradient: [B, D] gradient of the loss by the embeddings of the queries.
    """
    number, bags, found = _number(queries), queries.inputs.bags, {}
    for name in _tables(queries.model):
        ids = bags[name].ids.reshape(-1)
        found[name] = distinct_rows(ids, queries.tables[name].shape[0])

    def add(turn: jax.Array, total: Any) -> Any:
        first = jnp.minimum(turn * chunk, number - chunk)
        part, places = _chunk(queries, first, chunk)

        def encode(dense: Any, rows: Rows, places: Rows) -> jax.Array:
            return _encode(queries, part, first, dense, rows, places)

        _, pull = jax.vjp(encode, queries.dense, queries.other_rows, places)
        own = jax.lax.dynamic_slice_in_dim(gradient, first, chunk)
        # The last chunk begins earlier, with rows that were counted.
        counted = first + jnp.arange(chunk) < turn * chunk
        dense, rows, vectors = pull(jnp.where(counted[:, None], 0, own))
        sums = {}
        for name, one in found.items():
            bag, width = part.bags[name], bags[name].ids.shape[1]
            at = _slice(one.place.reshape(-1, width), first, chunk, number)
            sums[name] = add_bags(total[2][name], _gradient_of(bag, vectors[name]), at)
        before = total[:2]
        return *jax.tree.map(jnp.add, before, (dense, rows)), sums

    nothing = jax.tree.map(jnp.zeros_like, (queries.dense, queries.other_rows))
    sums = {
        name: jnp.zeros((len(one.ids), queries.tables[name].shape[1]), gradient.dtype)
        for name, one in found.items()
    }
    turns = -(-number // chunk)
    dense, rows, sums = jax.lax.fori_loop(0, turns, add, (*nothing, sums))
    histories = {
        name: SummedRows(one.ids, one.place, sums[name]) for name, one in found.items()
    }
    return QueryGradient(dense, rows, histories)


def _tables(model: Model) -> dict[str, int]:
    """Return the tables that histories read, and their numbers of rows."""
    return {} if model.query.history is None else model.query.history.tables


def _number(queries: QueryTower) -> int:
    """Return the number of queries."""
    history = queries.inputs.history
    return 0 if history is None else history.present.shape[0]


def _slice(values: jax.Array, first: jax.Array, size: int, number: int) -> jax.Array:
    """Return the entries of some queries, of which each has as many of ``number``."""
    each = values.shape[0] // number
    return jax.lax.dynamic_slice_in_dim(values, first * each, size * each)


def _chunk(queries: QueryTower, first: jax.Array, size: int) -> tuple[net.Inputs, Rows]:
    """Return the inputs of some queries, and the vectors of their histories."""
    number = _number(queries)
    inputs = queries.inputs

    def part(tree: Any) -> Any:
        return jax.tree.map(lambda one: _slice(one, first, size, number), tree)

    rows = {
        name: one._replace(place=part(one.place), present=part(one.present))
        for name, one in inputs.rows.items()
    }
    own = net.Inputs(
        rows, part(inputs.bags), part(inputs.numbers), part(inputs.history)
    )
    places = {
        name: gather_bags(queries.tables[name], own.bags[name])
        for name in _tables(queries.model)
    }
    return own, places


def _encode(
    queries: QueryTower,
    part: net.Inputs,
    first: jax.Array,
    dense: dict[str, Any],
    rows: Rows,
    places: Rows,
) -> jax.Array:
    """Return the embeddings of the queries of a chunk."""
    size, number = part.history.present.shape[0], _number(queries)  # type: ignore[union-attr]
    own = {
        name: _slice(one, first, size, number) if name in part.bags else one
        for name, one in rows.items()
    }
    return net.encode("query", queries.model.query, dense, own | places, part)


def _gradient_of(bag: Bag, vectors: jax.Array) -> BagGradient:
    """Return the gradient by the rows of bags, given that by their vectors."""
    decay = jnp.zeros_like(bag.weight)
    return BagGradient(bag.ids, bag.weight, vectors / bag.total[:, None], decay)
