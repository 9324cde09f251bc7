"""Towers of a model: their static shape, parameters and embeddings."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.data.log import Feature
from twotower_jax.errors import InputError
from twotower_jax.model.embeddings import FeatureSpec, number_vectors
from twotower_jax.model.history import HistorySpec, init_history
from twotower_jax.model.sequence import SequenceSpec
from twotower_jax.model.towers import Tower, Towers, TwoTower


class TowerSpec(NamedTuple):
    """The static shape of a tower."""

    features: tuple[FeatureSpec, ...]  # features that the tower reads
    dim: int  # size of the vectors of features and of the embedding
    hidden: tuple[int, ...]  # widths of hidden layers
    normalize: bool  # whether the embedding has length 1
    choice: Towers = TwoTower()  # its kind and the keys that this kind adds
    history: HistorySpec | None = None  # shape of the feature "history", if it is read

    @property
    def numeric(self) -> tuple[FeatureSpec, ...]:
        """Features that are numbers or vectors of numbers, in order."""
        return tuple(feature for feature in self.features if feature.numbers)


def init_tower(spec: TowerSpec, key: jax.Array) -> dict:
    """Initial parameters of one side of the model, tables excepted."""
    params = _build(spec).init(jax.random.fold_in(key, 0))
    if spec.numeric:
        shape = (sum(feature.numbers for feature in spec.numeric), spec.dim)
        numeric = 0.05 * jax.random.normal(jax.random.fold_in(key, 1), shape)
        params = params | {"numeric": numeric}
    if spec.history is not None:
        history = init_history(spec.history, spec.dim, jax.random.fold_in(key, 2))
        params = params | ({"history": history} if history else {})
    return params


def apply_tower(
    spec: TowerSpec,
    params: dict,
    vectors: dict[str, jax.Array],
    numbers: jax.Array | None,
) -> jax.Array:
    """Embeddings of entities from the vectors and the numbers of their features."""
    parts = [vectors[f.name] for f in spec.features if not f.numbers]
    parts += number_vectors(spec.numeric, numbers, params.get("numeric"))
    x = _build(spec).apply(params, parts)
    return l2_normalize(x) if spec.normalize else x


@functools.lru_cache
def _build(spec: TowerSpec) -> Tower:
    return spec.choice.build(spec)


def l2_normalize(x: jax.Array) -> jax.Array:
    """Vectors x / |x| along the last axis; 0 stays 0, with a finite gradient."""
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


class Model(NamedTuple):
    """The static part of a model."""

    query: TowerSpec  # the query tower
    candidate: TowerSpec  # the candidate tower


def make_model(config: Towers, log: Any) -> Model:
    """Static part of a model of a `FunnelLog`."""
    history = _history(config, log) if "history" in config.query else None
    shape = config.dim, config.hidden, config.normalize, config.structure()
    users = log.user_features, log.num_users, log.num_items
    items = log.item_features, log.num_items, log.num_items
    of_query = tuple(_feature("query", name, *users) for name in config.query)
    of_item = tuple(_feature("candidate", name, *items) for name in config.candidate)
    return Model(TowerSpec(of_query, *shape, history), TowerSpec(of_item, *shape))


def _history(config: Towers, log: Any) -> HistorySpec:
    """Return the static shape of histories."""
    names, shared = config.history_features, config.history_table == "shared"
    items = log.item_features
    for name in names:
        if name != "id" and name not in items:
            choices = ", ".join(["id", *sorted(items)])
            raise InputError(
                f"towers.history_features names the feature {name!r}, which the items "
                f"do not have; choose from {choices}"
            )
    parts = tuple(
        _feature("candidate", name, items, log.num_items, log.num_items)
        for name in names
    )
    for part in parts:
        if shared and part.size and part.name not in config.candidate:
            raise InputError(
                f"towers.history_table=shared needs {part.name!r} of "
                f"towers.history_features in towers.candidate, which is "
                f"{list(config.candidate)}; add it there, or set "
                "towers.history_table=own"
            )
    sequence = None
    if config.history_pooling == "transformer":
        blocks = config.sequence.layers, config.sequence.heads
        sequence = SequenceSpec(config.dim, config.history_length, *blocks)
    shape = log.num_items, config.history_length, config.history_pooling
    return HistorySpec(*shape, config.history_half_life, parts, shared, sequence)


def _feature(
    side: str, name: str, features: Mapping[str, Feature], size: int, num_items: int
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
            f"choose from {', '.join(choices)}, or declare a column of a table: "
            f"data.{side}_features.{name}=categorical"
        )
    feature = features[name]
    width = feature.values.shape[1] if feature.kind == "vector" else 0
    return FeatureSpec(name, feature.kind, feature.size, width)
