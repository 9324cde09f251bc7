"""The two-tower model of a run: rows of tables are looked up, pooled and encoded."""

import jax

from twotower_jax import keys
from twotower_jax.data.feed import Entities, Queries
from twotower_jax.model.bags import gather_bags
from twotower_jax.model.embeddings import (
    gather,
    init_table,
    look_up,
)
from twotower_jax.model.history import history_vectors
from twotower_jax.model.inputs import Inputs, candidate_inputs, query_inputs
from twotower_jax.model.specs import Model
from twotower_jax.model.tower import TowerSpec, apply_tower, init_tower


def table_sizes(side: str, spec: TowerSpec) -> dict[str, int]:
    """The tables that a tower reads, and their numbers of rows.

    Args:
      spec: static shape.
    """
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


def gather_rows(tables: dict[str, jax.Array], inputs: Inputs) -> dict[str, jax.Array]:
    """The parts of every table that the inputs read: gathered rows, vectors of bags.

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


def embed_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array:
    """Embeddings of queries for serving: no temperature, no log q.

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
