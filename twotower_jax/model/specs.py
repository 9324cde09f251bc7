"""The static part of the model of a run: the configured features and their sizes."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from twotower_jax.data.log import Feature
from twotower_jax.errors import InputError
from twotower_jax.model.embeddings import FeatureSpec
from twotower_jax.model.history import HistorySpec
from twotower_jax.model.sequence import SequenceSpec
from twotower_jax.model.tower import TowerSpec
from twotower_jax.model.towers import Towers


class Catalogue(Protocol):
    """Users, items and their features: a log, or the sizes of one."""

    @property
    def num_users(self) -> int:
        """Number of users."""
        ...

    @property
    def num_items(self) -> int:
        """Number of items."""
        ...

    @property
    def user_features(self) -> Mapping[str, Feature]:
        """Features of users by name."""
        ...

    @property
    def item_features(self) -> Mapping[str, Feature]:
        """Features of items by name."""
        ...


class Model(NamedTuple):
    """The static part of a model.

    Attributes:
      query: the query tower.
      candidate: the candidate tower.
    """

    query: TowerSpec
    candidate: TowerSpec


def make_model(config: Towers, log: Catalogue) -> Model:
    """Static part of a model: the configured features with the sizes of the data.

    Raises:
      InputError: when a tower names a feature that the data does not have, or a history
        shares a table that the candidate tower does not have.
    """
    sides = {
        "query": (config.query, log.user_features, log.num_users),
        "candidate": (config.candidate, log.item_features, log.num_items),
    }
    history = _history(config, log) if "history" in config.query else None
    specs = {
        side: TowerSpec(
            tuple(_feature(side, n, features, size, log.num_items) for n in names),
            config.dim,
            config.hidden,
            config.normalize,
            config.structure(),
            history if side == "query" else None,
        )
        for side, (names, features, size) in sides.items()
    }
    return Model(specs["query"], specs["candidate"])


def _history(config: Towers, log: Catalogue) -> HistorySpec:
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
        sequence = SequenceSpec(
            config.dim,
            config.history_length,
            config.sequence.layers,
            config.sequence.heads,
        )
    return HistorySpec(
        items=log.num_items,
        length=config.history_length,
        pooling=config.history_pooling,
        half_life=config.history_half_life,
        features=parts,
        shared=shared,
        sequence=sequence,
    )


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
    one = features[name]
    width = one.values.shape[1] if one.kind == "vector" else 0
    return FeatureSpec(name, one.kind, one.size, width)
