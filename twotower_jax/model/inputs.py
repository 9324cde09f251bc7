"""Inputs of the towers: which rows and bags of the tables a batch reads."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.arrays.shards import take_known
from twotower_jax.data.feed import Entities, Queries
from twotower_jax.model import embeddings as emb
from twotower_jax.model.history import HistoryInputs, history_inputs, place_inputs
from twotower_jax.model.sequence import stream_tokens
from twotower_jax.model.tower import Model, TowerSpec


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
