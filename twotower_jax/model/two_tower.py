"""The two-tower model of a run: features looked up in tables, pooled, encoded."""

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
    Rows,
    find_rows,
    gather,
    init_table,
    pool,
)
from twotower_jax.model.tower import TowerSpec, make_tower


class Model(NamedTuple):
    """The static part of a model."""

    query: TowerSpec
    candidate: TowerSpec
    history_length: int


class Inputs(NamedTuple):
    """What a tower reads for [E] entities: rows by table name, and numbers [E, n]."""

    rows: dict[str, Rows]
    numbers: jax.Array | None


def make_model(config: TowersConfig, log: FunnelLog) -> Model:
    """Resolve the configured features against those that the data has.

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
        )
        for side, (names, features, size) in sides.items()
    }
    return Model(specs["query"], specs["candidate"], config.history_length)


def _feature(
    side: str, name: str, known: dict[str, Feature], size: int, num_items: int
) -> FeatureSpec:
    if name == "id":
        return FeatureSpec(name, "id", size)
    if name == "history":
        return FeatureSpec(name, "history", num_items)
    if name not in known:
        choices = ["id", *(["history"] if side == "query" else []), *sorted(known)]
        raise InputError(
            f"towers.{side} names the feature {name!r}, which the data does not have; "
            f"choose from {', '.join(choices)}"
        )
    return FeatureSpec(name, known[name].kind, known[name].size)


def init_params(
    model: Model,
    seed: int | jax.Array,
    scale: float | jax.Array,
    log_temperature: jax.Array | None,
) -> dict:
    """Return parameters {"tables": {name: [size, dim]}, "dense": {...}}.

    Args:
      model: the static part.
      seed: the run's seed.
      scale: half-width of the uniform distribution of the tables.
      log_temperature: start of a learned temperature; None where it is fixed.
    """
    tables, dense = {}, {}
    for side, spec in (("query", model.query), ("candidate", model.candidate)):
        for feature in spec.features:
            if feature.size:
                name = f"{side}.{feature.name}"
                key = keys.stream(seed, f"init.{name}")
                tables[name] = init_table(key, feature.size, spec.dim, scale)
        dense[side] = make_tower(spec).init(keys.stream(seed, f"init.{side}"))
    if log_temperature is not None:
        dense["log_temperature"] = log_temperature
    return {"tables": tables, "dense": dense}


def query_inputs(
    model: Model, entities: Entities, queries: Queries, target: jax.Array | None
) -> Inputs:
    """Return what the query tower reads; a target item is left out of its history."""
    history = None
    if any(f.kind == "history" for f in model.query.features):
        history = _history(model.history_length, entities, queries, target)
    return _inputs("query", model.query, entities.query, queries.user, history)


def candidate_inputs(model: Model, entities: Entities, items: jax.Array) -> Inputs:
    """Return what the candidate tower reads for items [E]; unknown ids read nothing."""
    return _inputs("candidate", model.candidate, entities.candidate, items, None)


def _history(
    length: int, entities: Entities, queries: Queries, target: jax.Array | None
) -> jax.Array:
    """Return the last items [E, length] of each query's span, padded with -1."""
    assert queries.begin is not None and queries.end is not None
    place = queries.end[:, None] - 1 - jnp.arange(length, dtype=jnp.int32)[None, :]
    assert entities.history is not None
    items = entities.history.at[place].get(mode="fill", fill_value=-1)
    visible = place >= queries.begin[:, None]
    if target is not None:
        visible &= items != target[:, None]
    return jnp.where(visible, items, -1)


def _inputs(
    side: str,
    spec: TowerSpec,
    features: dict[str, jax.Array],
    entity: jax.Array,
    history: jax.Array | None,
) -> Inputs:
    rows, numbers = {}, []
    for feature in spec.features:
        if feature.kind == "numeric":
            values = features[feature.name].at[entity].get(mode="fill", fill_value=0)
            numbers.append(values)
            continue
        if feature.kind == "id":
            ids = entity
        elif feature.kind == "history":
            assert history is not None
            ids = history
        else:
            ids = features[feature.name].at[entity].get(mode="fill", fill_value=-1)
        rows[f"{side}.{feature.name}"] = find_rows(ids, feature.size)
    return Inputs(rows, jnp.stack(numbers, 1) if numbers else None)


def gather_rows(tables: dict[str, jax.Array], inputs: Inputs) -> dict[str, jax.Array]:
    """Return the gathered rows [R, dim] of every table that the inputs read."""
    return {name: gather(tables[name], rows) for name, rows in inputs.rows.items()}


def encode(
    side: str,
    spec: TowerSpec,
    dense: dict,
    values: dict[str, jax.Array],
    inputs: Inputs,
) -> jax.Array:
    """Return embeddings [E, dim] from gathered rows."""
    vectors = {
        name.split(".", 1)[1]: pool(values[name], rows)
        for name, rows in inputs.rows.items()
    }
    return make_tower(spec).apply(dense[side], vectors, inputs.numbers)


def first_entities(inputs: Inputs, number: int) -> Inputs:
    """Return the inputs of the first entities, of the same gathered rows."""
    rows = {
        name: r._replace(place=r.place[:number], present=r.present[:number])
        for name, r in inputs.rows.items()
    }
    numbers = None if inputs.numbers is None else inputs.numbers[:number]
    return Inputs(rows, numbers)


def embed_queries(
    model: Model, params: dict, entities: Entities, queries: Queries
) -> jax.Array:
    """Return query embeddings [E, dim], for serving: no temperature, no log q."""
    inputs = query_inputs(model, entities, queries, None)
    values = gather_rows(params["tables"], inputs)
    return encode("query", model.query, params["dense"], values, inputs)


def embed_candidates(
    model: Model, params: dict, entities: Entities, items: jax.Array
) -> jax.Array:
    """Return candidate embeddings [E, dim] of items [E]."""
    inputs = candidate_inputs(model, entities, items)
    values = gather_rows(params["tables"], inputs)
    return encode("candidate", model.candidate, params["dense"], values, inputs)
