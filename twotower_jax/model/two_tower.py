"""The two-tower model of a run: rows of tables are looked up, pooled and encoded."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.data.feed import Entities, Queries
from twotower_jax.data.shards import take_known
from twotower_jax.model.bags import Bag, first_bags, gather_bags, mean_bag
from twotower_jax.model.embeddings import (
    TableRows,
    find_rows,
    gather,
    init_table,
    join_numbers,
    look_up,
)
from twotower_jax.model.history import HistoryInputs, history_inputs, history_vectors
from twotower_jax.model.specs import Model
from twotower_jax.model.tower import TowerSpec, apply_tower, init_tower


class Inputs(NamedTuple):
    """Inputs of a tower for E entities.

    Attributes:
      rows: {table: rows} of features of one value, the names of tables as in
        "query.id".
      bags: {table: bags} of features of several values, and of the items of histories.
      numbers: [E, n] float32 of the numeric features and vectors; None without any.
      history: the rest of the inputs of histories; None where none is read.
    """

    rows: dict[str, TableRows]
    bags: dict[str, Bag]
    numbers: jax.Array | None
    history: HistoryInputs | None


def table_sizes(side: str, spec: TowerSpec) -> dict[str, int]:
    """The tables that a tower reads, and their numbers of rows.

    Args:
      side: "query" or "candidate".
      spec: static shape.

    Returns:
      {name: rows}; with shared tables, the query tower reads some of the candidate's.
    """
    sizes: dict[str, int] = {}
    for feature in spec.features:
        if feature.kind == "history" and spec.history is not None:
            sizes |= spec.history.tables
        elif feature.size:
            sizes[f"{side}.{feature.name}"] = feature.size
    return sizes


def rows_of_tables(model: Model) -> dict[str, int]:
    """The tables of a model, and their numbers of rows.

    Args:
      model: the static part.
    """
    return table_sizes("query", model.query) | table_sizes("candidate", model.candidate)


def init_params(
    model: Model,
    seed: int | jax.Array,
    scale: float | jax.Array,
    log_temperature: jax.Array | None,
) -> dict:
    """Initial parameters of a model.

    Args:
      model: the static part.
      seed: seed of the run.
      scale: half-width of the uniform distribution of the tables.
      log_temperature: [] float32, start of a learned temperature; None where it is
        fixed.

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


def query_inputs(
    model: Model, entities: Entities, queries: Queries, target: jax.Array | None
) -> Inputs:
    """Inputs of the query tower.

    Args:
      model: the static part.
      entities: features on the device.
      queries: E queries.
      target: [E] int32 item of each row, which is left out of its own history; None
        leaves nothing out, and neither does a sequence, which ends before the target.

    Returns:
      The inputs for E queries.
    """
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
    model: Model, entities: Entities, items: jax.Array, shown: jax.Array | None = None
) -> Inputs:
    """Inputs of the candidate tower.

    Args:
      model: the static part.
      entities: features on the device.
      items: [E] int32; an id outside of the catalogue has no value in any feature.
      shown: [E, features] bool, features whose value is read; None: all of them.

    Returns:
      The inputs for E items.
    """
    features = entities.candidate
    return feature_inputs("candidate", model.candidate, features, items, shown)


def last_items(
    length: int, clicks: jax.Array | None, queries: Queries
) -> jax.Array | None:
    """Last items of the history of each query, the latest first.

    Args:
      length: items of a history that are read.
      clicks: [clicks] int32, items of all histories; None without histories.
      queries: E queries with their spans.

    Returns:
      [E, length] int32, padded with -1; None where the queries have no histories.
    """
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
) -> Inputs:
    """Inputs of a tower, histories excepted.

    Args:
      side: "query" or "candidate".
      spec: static shape of the tower.
      features: arrays by name, first axis the user or item.
      ids: [E] int32 users or items.
      shown: [E, features] bool, features whose value is read; None: all of them.

    Returns:
      The inputs for E entities.
    """
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
            bags[name] = mean_bag(values, feature.size)
        else:
            rows[name] = find_rows(values, feature.size)
    return Inputs(rows, bags, join_numbers(numbers), None)


def gather_rows(tables: dict[str, jax.Array], inputs: Inputs) -> dict[str, jax.Array]:
    """The parts of every table that the inputs read: gathered rows, vectors of bags.

    Args:
      tables: {name: [size, dim]} float32.
      inputs: of a tower.

    Returns:
      {name: [R, dim]} float32 of rows, and {name: [E, dim]} of bags.
    """
    rows = {name: gather(tables[name], rows) for name, rows in inputs.rows.items()}
    bags = {name: gather_bags(tables[name], bag) for name, bag in inputs.bags.items()}
    return rows | bags


def encode(
    side: str,
    spec: TowerSpec,
    dense: dict,
    values: dict[str, jax.Array],
    inputs: Inputs,
) -> jax.Array:
    """Embeddings of entities from the parts of the tables.

    Args:
      side: "query" or "candidate".
      spec: static shape of its tower.
      dense: parameters of both towers.
      values: {table: [R, dim] or [E, dim]}, the result of `gather_rows`; bags beyond
        those of the inputs are not read.
      inputs: of the tower, for E entities.

    Returns:
      [E, dim] float32.
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


def first_entities(inputs: Inputs, number: int) -> Inputs:
    """Inputs of the first entities, which have no histories, of the same rows.

    Args:
      inputs: of E entities.
      number: of entities that are kept, at most E.

    Returns:
      The inputs of `number` entities.
    """
    rows = {
        name: r._replace(place=r.place[:number], present=r.present[:number])
        for name, r in inputs.rows.items()
    }
    bags = {name: first_bags(bag, number) for name, bag in inputs.bags.items()}
    numbers = None if inputs.numbers is None else inputs.numbers[:number]
    return Inputs(rows, bags, numbers, inputs.history)


def embed_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array:
    """Embeddings of queries for serving: no temperature, no log q.

    Args:
      model: the static part.
      params: as of `init_params`.
      entities: features on the device.
      queries: E queries.

    Returns:
      [E, dim] float32.
    """
    inputs = query_inputs(model, entities, queries, None)
    values = gather_rows(params["tables"], inputs)
    return encode("query", model.query, params["dense"], values, inputs)


def embed_candidates(
    model: Model, params: dict, entities: Entities, items: jax.Array
) -> jax.Array:
    """Embeddings of items for serving.

    Args:
      model: the static part.
      params: as of `init_params`.
      entities: features on the device.
      items: [E] int32.

    Returns:
      [E, dim] float32.
    """
    inputs = candidate_inputs(model, entities, items)
    values = gather_rows(params["tables"], inputs)
    return encode("candidate", model.candidate, params["dense"], values, inputs)
