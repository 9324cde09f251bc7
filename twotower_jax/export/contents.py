"""The arrays of an export: vectors, and the inputs of both towers for every entity."""

from typing import Any, NamedTuple

import jax
import numpy as np

from twotower_jax.data.log import Feature
from twotower_jax.evaluation.ragged import Ragged
from twotower_jax.export.raw import raw_inputs
from twotower_jax.export.towers import TowerInput, tower_inputs
from twotower_jax.export.users import sample_codes
from twotower_jax.model.inputs import last_items
from twotower_jax.model.two_tower import all_candidates, all_queries
from twotower_jax.run.evaluate import TrainedRun
from twotower_jax.run.rank import UserState, user_state
from twotower_jax.run.updates import make_vocabulary

Values = dict[str, np.ndarray]


class Side(NamedTuple):
    """One tower and its entities: the users or the items.

    Attributes:
      inputs: of the tower, in order.
      values: {input: [entities, ...]}, of every entity by code.
      sample: [n] codes of random entities.
      vectors: [n, dim] float32, their embeddings in the run's evaluation.
    """

    inputs: tuple[TowerInput, ...]
    values: Values
    sample: np.ndarray
    vectors: np.ndarray


class Contents(NamedTuple):
    """The arrays of an export.

    Attributes:
      items: [items, dim] float32 embeddings in the run's evaluation.
      sides: by "query" and "candidate".
      seen: items that evaluation leaves out, a row per user; None for none.
      vocabulary: content of vocabulary.json.
    """

    items: np.ndarray
    sides: dict[str, Side]
    seen: Ragged | None
    vocabulary: dict[str, Any]


def make_contents(run: TrainedRun) -> Contents:
    """Arrays of an export, computed as evaluation does on the test split."""
    state, log = user_state(run.config, run.data), run.data.log
    items = np.asarray(
        all_candidates(run.model, run.params, state.entities, log.num_items)
    )
    users = sample_codes(log.num_users, "users")
    queries = jax.tree.map(lambda x: x[users], state.queries)
    vectors = np.asarray(all_queries(run.model, run.params, state.entities, queries))
    rows = sample_codes(log.num_items, "items")
    vocabulary = make_vocabulary(run.model, log)
    inputs = _inputs(run, "query", vocabulary)
    values = _values(log.user_features, log.num_users)
    values["history"] = _histories(run, state)
    item_inputs = _inputs(run, "candidate", vocabulary)
    item_values = _values(log.item_features, log.num_items)
    sides = {
        "query": Side(inputs, _of_inputs(values, inputs), users, vectors),
        "candidate": Side(
            item_inputs, _of_inputs(item_values, item_inputs), rows, items[rows]
        ),
    }
    return Contents(items, sides, state.seen, vocabulary)


def _inputs(
    run: TrainedRun, side: str, vocabulary: dict[str, Any]
) -> tuple[TowerInput, ...]:
    log = run.data.log
    features = log.user_features if side == "query" else log.item_features
    widths = {n: f.values.shape[1] for n, f in features.items() if f.values.ndim > 1}
    raw = raw_inputs(side, vocabulary)
    return tower_inputs(getattr(run.model, side), widths, raw)


def _values(features: dict[str, Feature], number: int) -> Values:
    """Return the ids and the features of every entity."""
    values = {name: feature.values for name, feature in features.items()}
    return values | {"id": np.arange(number, dtype=np.int32)}


def _histories(run: TrainedRun, state: UserState) -> np.ndarray:
    """Return the last items [users, length] of every user; [users, 0] without any."""
    history, items = run.model.query.history, None
    if history is not None:
        items = last_items(history.length, state.entities.history, state.queries)
    empty = np.empty((run.data.log.num_users, 0), np.int32)
    return empty if items is None else np.asarray(items)


def _of_inputs(values: Values, inputs: tuple[TowerInput, ...]) -> Values:
    return {one.name: values[one.name] for one in inputs}
