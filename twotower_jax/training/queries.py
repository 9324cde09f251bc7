"""Inputs and embeddings of the queries of a batch."""

from typing import Any

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.arrays.distinct import distinct_rows
from twotower_jax.model import two_tower as net
from twotower_jax.model.embeddings import TableRows, gather_bags
from twotower_jax.model.history import HistoryInputs
from twotower_jax.model.sequence import Dropout
from twotower_jax.model.tower import Model, TowerSpec, l2_normalize
from twotower_jax.model.two_tower import Inputs, query_inputs, stream_inputs
from twotower_jax.negatives.source import Batch
from twotower_jax.training.types import Program, TrainData, TrainState


def drop_numbers(program: Program, state: TrainState, query: jax.Array) -> jax.Array:
    """Query embeddings of a step, some of whose numbers are dropped.

    Each number is kept with probability 1 - p and then divided by it; a cosine gets its
    length 1 again, as if the numbers had been dropped before the normalisation
    (Srivastava et al., Dropout, JMLR 2014; Wu et al., BSL, ICDE 2024).
    """
    if "query" not in program.dropout:
        return query
    share = program.dropout["query"]
    key = keys.stream(program.seed, "towers.query_dropout", state.step)
    kept = jax.random.uniform(key, query.shape) >= share
    query = jnp.where(kept, query / (1 - share), 0)
    normalize = program.model.query.normalize
    return l2_normalize(query) if normalize else query


# --- Inputs of the query tower for the rows of a batch --------------------------------


def batch_queries(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> Inputs:
    """Inputs of the query tower for the rows of a batch."""
    model = program.model
    if program.end_to_end:  # each item of a sequence is read once
        inputs = stream_inputs(model, data.entities, batch.queries)
    else:
        inputs = query_inputs(model, data.entities, batch.queries, batch.items)
    history = inputs.history
    if "sequence" in program.dropout and history:
        share = program.dropout["sequence"]
        key = keys.stream(program.seed, "towers.sequence.dropout", state.step)
        dropout = Dropout(key, share)
        inputs = inputs._replace(history=history._replace(dropout=dropout))
    rows = dict(inputs.rows)
    if history and rows_of_chunk(model.query, inputs):
        # The distinct rows of histories, which are read in chunks.
        for name, size in model.query.history.tables.items():  # type: ignore
            ids = inputs.bags[name].ids.reshape(-1)
            distinct = distinct_rows(ids, size)
            rows[name] = TableRows(distinct.ids, distinct.place, ids < size)
    return inputs._replace(rows=rows)


# --- Queries that read each item of a history, in chunks of rows ----------------------
# The vectors of the items of all histories of a batch, [B, length, dim], are the
# largest arrays of such a step. Where they are many, the distinct rows of their tables
# are gathered, and a chunk of rows of the batch looks its items up there: its vectors
# are forgotten, and made again when its part of the gradient passes.

# Items of histories whose vectors are held at a time: 64 MiB of dimension 64.
PLACES = 2**18
# Items of histories that a transformer reads at a time, times its layers and dimension:
# 65,536 with two layers of 64, which keep about 12 kB for each item.
NUMBERS = 2**23


def rows_of_chunk(spec: TowerSpec, inputs: Inputs) -> int:
    """Rows of a chunk, or 0 where the batch is computed as a whole."""
    history, of_inputs = spec.history, inputs.history
    if not (history and of_inputs and history.by_place):
        return 0
    if of_inputs.present.ndim == 1:  # sequences end to end read an item once
        return 0
    rows, length = of_inputs.present.shape
    most, layers = PLACES, history.sequence
    if layers:
        most = NUMBERS // (layers.layers * layers.dim)
    # On a mesh each device has a part of the rows, in one piece.
    if rows * length <= most or jax.sharding.get_abstract_mesh().size > 1:
        return 0
    return max(1, most // length)


def encode_queries(
    spec: TowerSpec, dense: dict[str, Any], rows: dict[str, jax.Array], inputs: Inputs
) -> jax.Array:
    """Embeddings [B, D] of the queries of a batch, in chunks where they are many."""
    size, history = rows_of_chunk(spec, inputs), inputs.history
    if not size or history is None:
        return net.encode("query", spec, dense, rows, inputs)
    number = history.present.shape[0]

    @jax.checkpoint
    def encode(dense: dict, rows: dict, first: jax.Array) -> jax.Array:
        chunk = _chunk(inputs, history, first, size)
        values = dict(rows)
        for name, bag in chunk.bags.items():
            if name in inputs.rows:
                values[name] = gather_bags(rows[name], bag)
            else:
                values[name] = _part(rows[name], first, size, number)
        return net.encode("query", spec, dense, values, chunk)

    def fill(turn: jax.Array, out: jax.Array) -> jax.Array:
        # The last chunk begins earlier, and replaces rows of the one before.
        first = jnp.minimum(turn * size, number - size)
        vectors = encode(dense, rows, first)
        return jax.lax.dynamic_update_slice(out, vectors, (first, 0))

    empty = jnp.zeros((number, spec.dim), jnp.float32)
    return jax.lax.fori_loop(0, -(-number // size), fill, empty)


def query_vectors(model: Model, inputs: Inputs, params: dict[str, Any]) -> jax.Array:
    """Embeddings [B, D] of the queries of a batch."""
    rows = net.gather_rows(params["tables"], inputs)
    return encode_queries(model.query, params["dense"], rows, inputs)


def _part(tree: Any, first: jax.Array, size: int, number: int) -> Any:
    """Return the entries of some of the queries, of which each has as many."""

    def sliced(values: jax.Array) -> jax.Array:
        each = values.shape[0] // number
        return jax.lax.dynamic_slice_in_dim(values, first * each, size * each)

    return jax.tree.map(sliced, tree)


def _chunk(
    inputs: Inputs, history: HistoryInputs, first: jax.Array, size: int
) -> Inputs:
    """Return the inputs of some rows; bags of histories name places of their rows."""
    number = history.present.shape[0]
    rows, bags = {}, dict(inputs.bags)
    for name, of_table in inputs.rows.items():
        if name in bags:
            places = jnp.reshape(of_table.place, bags[name].ids.shape)  # type: ignore
            bags[name] = bags[name]._replace(ids=places)
        else:
            place, present = _part(of_table[1:], first, size, number)
            rows[name] = TableRows(of_table.ids, place, present)
    dropout = history.dropout and history.dropout._replace(first=first)
    before = first * history.present.shape[1]
    own = history._replace(dropout=None)
    bags, numbers, own = _part((bags, inputs.numbers, own), first, size, number)
    if own.tokens:
        newest = own.tokens.newest - before
        own = own._replace(tokens=own.tokens._replace(newest=newest))
    return Inputs(rows, bags, numbers, own._replace(dropout=dropout))
