"""The two-tower model of a run: rows of tables are looked up, pooled and encoded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from twotower_jax import keys
from twotower_jax.arrays.shards import (
    BY_ROWS,
    on_all,
    place_rows,
    stored_rows,
    table_shards,
    take_known,
)
from twotower_jax.data.feed import Entities, Queries
from twotower_jax.model import embeddings as emb
from twotower_jax.model.embeddings import gather, gather_bags, init_table, look_up
from twotower_jax.model.history import (
    HistoryInputs,
    history_inputs,
    history_vectors,
    place_inputs,
)
from twotower_jax.model.sequence import stream_tokens
from twotower_jax.model.tower import Model, TowerSpec, apply_tower, init_tower


class Inputs(NamedTuple):
    """Inputs of a tower for E entities."""

    rows: dict[str, emb.TableRows]  # {"query.id": rows, ...} of features of one value
    bags: dict[str, emb.Bag]  # of features of several values, and of histories
    numbers: jax.Array | None  # [E, n] float32 of numeric features and vectors
    history: HistoryInputs | None  # the rest of the inputs of histories


def query_inputs(
    model: Model, entities: Entities, queries: Queries, target: jax.Array | None
) -> Inputs:
    """Inputs of the query tower."""
    inputs = feature_inputs("query", model.query, entities.query, queries.user)
    history = model.query.history
    if history is None:
        return inputs
    items = last_items(history.length, entities.history, queries)
    if items is None:
        raise ValueError("the query tower reads histories, and the queries have none")
    if target is not None and history.sequence is None:
        items = jnp.where(items == target[:, None], -1, items)
    bags, rest = history_inputs(history, items, entities.candidate)
    return inputs._replace(bags=inputs.bags | bags, history=rest)


def candidate_inputs(
    model: Model,
    entities: Entities,
    items: jax.Array,
    shown: jax.Array | None = None,
    *,
    distinct: bool = False,
) -> Inputs:
    """Inputs of the candidate tower."""
    spec, features = model.candidate, entities.candidate
    return feature_inputs("candidate", spec, features, items, shown, distinct=distinct)


def last_items(
    length: int, clicks: jax.Array | None, queries: Queries
) -> jax.Array | None:
    """Last items of the history of each query, the latest first, [E, length] int32."""
    begin, end = queries.begin, queries.end
    if clicks is None or begin is None or end is None:
        return None
    place = end[:, None] - 1 - jnp.arange(length, dtype=jnp.int32)[None, :]
    items = take_known(clicks, place, -1)
    return jnp.where(place >= begin[:, None], items, -1)


def feature_inputs(
    side: str,
    spec: TowerSpec,
    features: dict[str, jax.Array],
    ids: jax.Array,
    shown: jax.Array | None = None,
    *,
    distinct: bool = False,
) -> Inputs:
    """Inputs of a tower, histories excepted."""
    rows, bags, numbers = {}, {}, []
    for place, feature in enumerate(spec.features):
        if feature.kind == "history":
            continue
        name, missing = f"{side}.{feature.name}", 0 if feature.numbers else -1
        values = ids
        if feature.kind != "id":
            values = take_known(features[feature.name], ids, missing)
        if shown is not None:
            there = shown[:, place].reshape(-1, *[1] * (values.ndim - 1))
            values = jnp.where(there, values, missing)
        if feature.numbers:
            numbers.append(values)
        elif feature.kind == "multi":
            bags[name] = emb.mean_bag(values, feature.size)
        elif distinct and feature.kind == "id":
            rows[name] = emb.ascending_rows(values, feature.size)
        else:
            rows[name] = emb.find_rows(values, feature.size)
    return Inputs(rows, bags, emb.join_numbers(numbers), None)


def first_entities(inputs: Inputs, number: int) -> Inputs:
    """Inputs of the first entities, which have no histories, of the same rows."""
    places = {name: rows[1:] for name, rows in inputs.rows.items()}
    first = jax.tree.map(lambda x: x[:number], (places, inputs.bags, inputs.numbers))
    places, bags, numbers = first
    rows = {
        name: emb.TableRows(rows.ids, *places[name])
        for name, rows in inputs.rows.items()
    }
    return Inputs(rows, bags, numbers, inputs.history)


def stream_inputs(model: Model, entities: Entities, queries: Queries) -> Inputs:
    """Inputs of the query tower for rows that are whole sequences, end to end."""
    inputs = feature_inputs("query", model.query, entities.query, queries.user)
    history, clicks = model.query.history, entities.history
    begin, end = queries.begin, queries.end
    if history is None or clicks is None or begin is None or end is None:
        raise ValueError("the query tower reads no sequences, or the queries have none")
    at, tokens = stream_tokens(begin, end, history.length)
    items = jnp.where(at >= 0, take_known(clicks, at, -1), -1)
    bags, rest = place_inputs(history, items[:, None], entities.candidate)
    rest = rest._replace(present=rest.present[:, 0], tokens=tokens)
    return inputs._replace(bags=inputs.bags | bags, history=rest)


def table_sizes(side: str, spec: TowerSpec) -> dict[str, int]:
    """The tables that a tower reads, and their numbers of rows."""
    sizes: dict[str, int] = {}
    for feature in spec.features:
        if feature.kind == "history" and spec.history is not None:
            sizes |= spec.history.tables
        elif feature.size:
            sizes[f"{side}.{feature.name}"] = feature.size
    return sizes


def rows_of_tables(model: Model) -> dict[str, int]:
    """The tables of a model, and their numbers of rows."""
    return table_sizes("query", model.query) | table_sizes("candidate", model.candidate)


def init_params(
    model: Model,
    seed: int | jax.Array,
    scale: float | jax.Array,
    log_temperature: jax.Array | None,
) -> dict:
    """Initial parameters of a model.

    Args:
      scale: half-width of the uniform distribution of the tables.
      log_temperature: [] float32, start of a learned temperature, or None.

    Returns:
      {"tables": {name: [size, dim]}, "dense": {"query": ..., "candidate": ...}}, and
      "log_temperature" [] where it is learned.
    """
    tables, dense = {}, {}
    for side, spec in (("query", model.query), ("candidate", model.candidate)):
        for name, size in table_sizes(side, spec).items():
            if name not in tables:
                key = keys.stream(seed, f"init.{name}")
                tables[name] = init_table(key, size, spec.dim, scale)
        dense[side] = init_tower(spec, keys.stream(seed, f"init.{side}"))
    params: dict = {"tables": tables, "dense": dense}
    if log_temperature is not None:
        params["log_temperature"] = log_temperature
    return params


def gather_rows(tables: dict[str, jax.Array], inputs: Inputs) -> dict[str, jax.Array]:
    """The parts of every table that the inputs read: gathered rows, vectors of bags.

    Bags whose distinct rows are among the rows are left to be summed.
    """
    rows = {name: gather(tables[name], rows) for name, rows in inputs.rows.items()}
    bags = {
        name: gather_bags(tables[name], bag)
        for name, bag in inputs.bags.items()
        if name not in rows
    }
    return rows | bags


def encode(
    side: str,
    spec: TowerSpec,
    dense: dict,
    values: dict[str, jax.Array],
    inputs: Inputs,
) -> jax.Array:
    """Embeddings [E, dim] float32 of entities from the parts of the tables.

    Args:
      side: "query" or "candidate".
      dense: parameters of both towers.
      values: {table: [R, dim] or [E, dim]}, the result of `gather_rows`; bags beyond
        those of the inputs are not read.
    """
    vectors = {}
    for feature in spec.features:
        name = f"{side}.{feature.name}"
        if name in inputs.rows:
            vectors[feature.name] = look_up(values[name], inputs.rows[name])
        elif feature.kind == "multi":
            vectors[feature.name] = values[name][: inputs.bags[name].ids.shape[0]]
    if spec.history is not None and inputs.history is not None:
        params = dense[side].get("history", {})
        vectors["history"] = history_vectors(
            spec.history, params, values, inputs.history
        )
    return apply_tower(spec, dense[side], vectors, inputs.numbers)


def embed_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array:
    """Embeddings of queries for serving: no temperature, no log q, [E, dim] float32."""
    inputs = query_inputs(model, entities, queries, None)
    values = gather_rows(params["tables"], inputs)
    return encode("query", model.query, params["dense"], values, inputs)


def embed_candidates(
    model: Model, params: dict, entities: Entities, items: jax.Array
) -> jax.Array:
    """Embeddings [E, dim] float32 of items [E] int32 for serving."""
    inputs = candidate_inputs(model, entities, items)
    values = gather_rows(params["tables"], inputs)
    return encode("candidate", model.candidate, params["dense"], values, inputs)


# --- all queries and the whole catalogue, in blocks -----------------------------------

BLOCK = 4096
PART = 2**16  # queries that a mesh has at a time


def all_candidates(
    model: Model, params: dict, entities: Entities, num_items: int
) -> jax.Array:
    """Embeddings [num_items, dim] float32 of the whole catalogue.

    Where tables are spread over devices, so are they, padded to a multiple of the
    devices.
    """
    with _on_mesh(params, entities) as placed:
        return _all_candidates(model, params, placed, num_items)


@partial(jax.jit, static_argnames=("model", "num_items"))
def _all_candidates(
    model: Model, params: dict, entities: Entities, num_items: int
) -> jax.Array:
    embed = partial(embed_candidates, model, params, entities)
    shards = table_shards()
    if shards == 1:
        ids = jnp.arange(num_items, dtype=jnp.int32)
        return on_all(_in_blocks(embed, ids, num_items, model.candidate.dim))
    own = stored_rows(num_items, shards) // shards
    ids = jnp.arange(shards * own, dtype=jnp.int32).reshape(shards, own)
    # A block has as many items of each device, so that each fills in its own.
    block, dim = min(-(-BLOCK // shards), own), model.candidate.dim

    def fill(place: jax.Array, out: jax.Array) -> jax.Array:
        start = jnp.minimum(place * block, own - block)
        part = jax.lax.dynamic_slice_in_dim(ids, start, block, axis=1)
        vectors = embed(part.reshape(-1)).reshape(shards, block, dim)
        vectors = jax.lax.with_sharding_constraint(vectors, BY_ROWS)
        return jax.lax.dynamic_update_slice(out, vectors, (0, start, 0))

    empty = jnp.zeros((shards, own, dim), jnp.float32)
    empty = jax.lax.with_sharding_constraint(empty, BY_ROWS)
    out = jax.lax.fori_loop(0, -(-own // block), fill, empty)
    return jax.lax.with_sharding_constraint(out.reshape(-1, dim), BY_ROWS)


def all_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array | np.ndarray:
    """Embeddings [n, dim] float32 of n queries; of numpy on several devices."""
    with _on_mesh(params, entities) as placed:
        if mesh_of(params) is None:
            return _all_queries(model, params, placed, queries)
        number, parts = len(queries.user), []
        block = min(number, PART)
        for begin in range(0, number, block):
            start = min(begin, number - block)  # parts of one shape
            some = jax.tree.map(lambda x, at=start: x[at : at + block], queries)
            vectors = np.asarray(_all_queries(model, params, placed, some))
            parts.append(vectors[begin - start :])
        return np.concatenate(parts)


@partial(jax.jit, static_argnames="model")
def _all_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array:
    embed = partial(embed_queries, model, params, entities)
    return on_all(_in_blocks(embed, queries, queries.user.shape[0], model.query.dim))


@contextmanager
def _on_mesh(params: dict, entities: Entities) -> Iterator[Entities]:
    """Context with the mesh of the tables, and the features in their place on it."""
    mesh = mesh_of(params)
    if mesh is None:
        yield entities
    else:
        with jax.set_mesh(mesh):
            yield place_rows(mesh, entities)


def mesh_of(params: dict) -> Mesh | None:
    """Return the mesh of the tables, None on one device."""
    for table in params["tables"].values():
        sharding = getattr(table, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
            return cast(Mesh, sharding.mesh)
    return None


def _in_blocks(
    embed: Callable[[Any], jax.Array], entities: Any, number: int, dim: int
) -> jax.Array:
    """Return embeddings [number, dim] of entities (arrays [number]), block by block.

    Blocks are alike: the last one is moved back so that it fits.
    """
    blocks = -(-number // BLOCK)
    block = -(-number // blocks)

    def fill(place: jax.Array, out: jax.Array) -> jax.Array:
        start = jnp.minimum(place * block, number - block)
        part = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, start, block), entities
        )
        return jax.lax.dynamic_update_slice(out, embed(part), (start, 0))

    empty = jnp.zeros((number, dim), jnp.float32)
    return jax.lax.fori_loop(0, blocks, fill, empty)
