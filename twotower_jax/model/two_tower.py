"""The two-tower model of a run: rows of tables are looked up, pooled and encoded."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax import keys
from twotower_jax.config.towers import TowersConfig
from twotower_jax.data.feed import Entities, Queries
from twotower_jax.data.log import Feature, FunnelLog
from twotower_jax.errors import InputError
from twotower_jax.model.embeddings import (
    FeatureSpec,
    TableRows,
    find_rows,
    gather,
    init_table,
    pool,
)
from twotower_jax.model.tower import TowerSpec, apply_tower, init_tower


class Model(NamedTuple):
    """The static part of a model.

    Attributes:
      query: the query tower.
      candidate: the candidate tower.
      history_length: items of a history that are read, the last ones.
    """

    query: TowerSpec
    candidate: TowerSpec
    history_length: int


class Inputs(NamedTuple):
    """Inputs of a tower for E entities.

    Attributes:
      rows: {table: rows}, the names of tables as in "query.id".
      numbers: [E, n] float32 of the numeric features; None without any.
    """

    rows: dict[str, TableRows]
    numbers: jax.Array | None


def make_model(config: TowersConfig, log: FunnelLog) -> Model:
    """Static part of a model: the configured features with the sizes of the data.

    Args:
      config: of both towers.
      log: with the features of users and items.

    Returns:
      The model.

    Raises:
      InputError: when a tower names a feature that the data does not have.
    """
    sides = {
        "query": (config.query, log.user_features, log.num_users),
        "candidate": (config.candidate, log.item_features, log.num_items),
    }
    specs = {
        side: TowerSpec(
            tuple(_feature(side, n, features, size, log.num_items) for n in names),
            config.dim,
            config.hidden,
            config.normalize,
            config.kind,
        )
        for side, (names, features, size) in sides.items()
    }
    return Model(specs["query"], specs["candidate"], config.history_length)


def _feature(
    side: str, name: str, features: dict[str, Feature], size: int, num_items: int
) -> FeatureSpec:
    """Return the static shape of a feature of one side, which has `size` entities."""
    if name == "id":
        return FeatureSpec(name, "id", size)
    if name == "history":
        return FeatureSpec(name, "history", num_items)
    if name not in features:
        choices = ["id", *(["history"] if side == "query" else []), *sorted(features)]
        raise InputError(
            f"towers.{side} names the feature {name!r}, which the data does not have; "
            f"choose from {', '.join(choices)}"
        )
    return FeatureSpec(name, features[name].kind, features[name].size)


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
        for feature in spec.features:
            if feature.size:
                name = f"{side}.{feature.name}"
                key = keys.stream(seed, f"init.{name}")
                tables[name] = init_table(key, feature.size, spec.dim, scale)
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
        leaves nothing out.

    Returns:
      The inputs for E queries.
    """
    ids = {"id": queries.user}
    history = last_items(model.history_length, entities.history, queries)
    if history is not None:
        if target is not None:
            history = jnp.where(history == target[:, None], -1, history)
        ids["history"] = history
    return _inputs("query", model.query, entities.query, ids)


def candidate_inputs(model: Model, entities: Entities, items: jax.Array) -> Inputs:
    """Inputs of the candidate tower.

    Args:
      model: the static part.
      entities: features on the device.
      items: [E] int32; an id outside of the catalogue has no value in any feature.

    Returns:
      The inputs for E items.
    """
    return _inputs("candidate", model.candidate, entities.candidate, {"id": items})


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
    items = clicks.at[place].get(mode="fill", fill_value=-1)
    return jnp.where(place >= begin[:, None], items, -1)


def _inputs(
    side: str,
    spec: TowerSpec,
    features: dict[str, jax.Array],
    ids: dict[str, jax.Array],
) -> Inputs:
    """Return the inputs of a tower from features by name, first axis the entity.

    The ids are "id" [E] int32 of the entities and, for queries, "history" [E, length].
    """
    rows, numbers = {}, []
    for feature in spec.features:
        if feature.kind == "numeric":
            values = features[feature.name].at[ids["id"]]
            numbers.append(values.get(mode="fill", fill_value=0))
            continue
        if feature.kind in ids:
            values = ids[feature.kind]
        else:
            entries = features[feature.name].at[ids["id"]]
            values = entries.get(mode="fill", fill_value=-1)
        rows[f"{side}.{feature.name}"] = find_rows(values, feature.size)
    return Inputs(rows, jnp.stack(numbers, 1) if numbers else None)


def gather_rows(tables: dict[str, jax.Array], inputs: Inputs) -> dict[str, jax.Array]:
    """Gathered rows of every table that the inputs read.

    Args:
      tables: {name: [size, dim]} float32.
      inputs: of a tower.

    Returns:
      {name: [R, dim]} float32.
    """
    return {name: gather(tables[name], rows) for name, rows in inputs.rows.items()}


def encode(
    side: str,
    spec: TowerSpec,
    dense: dict,
    values: dict[str, jax.Array],
    inputs: Inputs,
) -> jax.Array:
    """Embeddings of entities from gathered rows.

    Args:
      side: "query" or "candidate".
      spec: static shape of its tower.
      dense: parameters of both towers.
      values: {table: [R, dim]}, the result of `gather_rows`.
      inputs: of the tower, for E entities.

    Returns:
      [E, dim] float32.
    """
    vectors = {
        name.split(".", 1)[1]: pool(values[name], rows)
        for name, rows in inputs.rows.items()
    }
    return apply_tower(spec, dense[side], vectors, inputs.numbers)


def first_entities(inputs: Inputs, number: int) -> Inputs:
    """Inputs of the first entities, of the same gathered rows.

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
    numbers = None if inputs.numbers is None else inputs.numbers[:number]
    return Inputs(rows, numbers)


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
