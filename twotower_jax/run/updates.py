"""The parameters that a run starts with: of another run, or of towers.init=spectral."""

from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from twotower_jax.config import Config
from twotower_jax.data.encode import codes_of
from twotower_jax.data.log import Feature, FunnelLog
from twotower_jax.data.parse_text import parse_json
from twotower_jax.errors import InputError
from twotower_jax.model.spectral import SpectralVectors, spectral_vectors
from twotower_jax.model.tower import Model
from twotower_jax.model.towers import Towers
from twotower_jax.run.folder import RunFolder, read_mapping, stored_config
from twotower_jax.run.loader import Latest, Loaded, train_clicks, trains
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.problem import KnownRows, WarmStart

VOCABULARY = "vocabulary.json"
# Keys that decide the shapes of parameters.
SHAPES = ("kind", "dim", "hidden")
OF_SEQUENCES = ("history_pooling", "history_length")
OF_SEQUENCES += ("sequence.layers", "sequence.heads")

_spectral_vectors: Latest[SpectralVectors] = Latest(2)


class Parent(NamedTuple):
    """A finished run that another one starts from."""

    folder: Path
    towers: Towers  # with the features that it reads
    identity: dict[str, Any]  # in the manifest of the run that starts from it


def first_params(
    config: Config, data: Loaded, model: Model, parent: Parent | None
) -> WarmStart:
    """Return the parameters that a run starts with where it has no random ones."""
    if parent is not None:
        return _of_parent(parent, model, data)
    if config.towers.init != "spectral":
        return WarmStart()
    dim = config.towers.dim
    vectors = _spectral_vectors.get(
        (data.fingerprint, dim), lambda: spectral_vectors(train_clicks(data), dim)
    )
    tables = {
        "tables/query.id": vectors.users,
        "tables/query.history": vectors.history,
        "tables/candidate.id": vectors.items,
    }
    return WarmStart(
        {name: _known_rows(table.any(axis=1), table) for name, table in tables.items()}
    )


def _known_rows(kept: Any, values: np.ndarray) -> KnownRows:
    rows = np.flatnonzero(kept)
    return KnownRows(rows.astype(np.int32), values[rows])


# --- the run that another one starts from ---------------------------------------------


def find_parent(config: Config) -> Parent | None:
    """Return the run of ``training.start_from``, a finished one of the same towers."""
    if config.training.start_from is None:
        return None
    folder = Path(config.training.start_from)
    key = f"training.start_from={folder}"
    if not trains(config):
        raise InputError(
            f"{key}: towers.kind={config.towers.kind} is a baseline, which has no "
            "parameters to start with; leave training.start_from out"
        )
    if not folder.is_dir():
        raise InputError(f"{key} is not a folder; give that of a finished run")
    record, stored = RunFolder(folder), stored_config(folder)
    result, made = record.result(), record.read("manifest") or {}
    if not (folder / VOCABULARY).is_file():
        raise InputError(
            f"{folder / VOCABULARY} is missing: an earlier version of twotower-jax "
            "trained the run; train it again under another name="
        )
    Checkpoints(folder).with_params(result["best_step"])
    if made.get("config_fingerprint") != folder.name:
        raise InputError(
            f"{key} is the run {made.get('config_fingerprint')} under another name; "
            "rename the folder to that, for it is part of this run's own hash"
        )
    names = ("config_fingerprint", "data_fingerprint")
    identity = {"folder": str(folder)} | {name: made[name] for name in names}
    identity |= {"step": result["best_step"]}
    read = {side: tuple(names) for side, names in result["towers"].items()}
    return Parent(folder, replace(stored.towers, **read), identity)


def check_same_parent(record: RunFolder, parent: Parent | None) -> None:
    """Refuse to resume a run that another parent started; its place may differ."""
    before = (record.read("manifest") or {}).get("parent")
    if before is None or parent is None:
        return
    if before | {"folder": None} != parent.identity | {"folder": None}:
        raise InputError(
            f"{record.path} began from {before}, but training.start_from now is "
            f"{parent.identity}; set name= to keep both, or move that folder away"
        )


def check_towers(config: Config, parent: Parent | None) -> None:
    """Refuse towers of other shapes or features than the parent, or no id to update."""
    if parent is None:
        return
    towers, before = config.towers, parent.towers
    names = [*SHAPES, *before.own_keys(), "query", "candidate"]
    if "transformer" in (before.history_pooling, towers.history_pooling):
        names += OF_SEQUENCES
    for name in names:
        was, now = (attrgetter(name)(section) for section in (before, towers))
        if was != now:
            key = f"towers.{name}"
            raise InputError(
                f"training.start_from={parent.folder} has {key}={_text(was)}, and this "
                f"run has {key}={_text(now)}; set {key}={_text(was)}"
            )
    read = {*towers.query, *towers.candidate}
    if config.training.update == "incremental" and not read & {"id", "history"}:
        raise InputError(
            "training.update=incremental learns the embeddings of ids alone, and the "
            "towers read neither id nor history; use training.update=full"
        )


def _of_parent(parent: Parent, model: Model, data: Loaded) -> WarmStart:
    values = Checkpoints(parent.folder).read_params(parent.identity["step"])
    before = read_mapping(parent.folder / VOCABULARY, parse_json)
    tables = {}
    for name, codes in earlier_codes(before, make_vocabulary(model, data.log)).items():
        if (table := values.pop(f"tables/{name}", None)) is not None:
            tables[f"tables/{name}"] = _known_rows(codes >= 0, table[codes])
    return WarmStart(tables, values)


def earlier_codes(before: dict[str, Any], now: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return by table the earlier code of each code of a vocabulary, -1 for none."""

    def codes(first: list, second: list) -> np.ndarray:
        text = (pl.Series(ids).cast(pl.String) for ids in (second, first))
        return codes_of(*text)

    def kind(values: Any) -> str:
        if isinstance(values, list):
            return "a choice of values"
        return f"a vector of {values['width']}" if "width" in values else "numeric"

    items = codes(before["items"], now["items"])
    tables = {
        "query.id": codes(before["users"], now["users"]),
        "query.history": items,
        "candidate.id": items,
    }
    for side, key in (("query", "user_features"), ("candidate", "item_features")):
        for name, values in now[key].items():
            was, now_is = map(kind, (before[key][name], values))
            if was != now_is:
                raise InputError(
                    f"the feature {name!r} is {was} in the run of training.start_from "
                    f"and {now_is} in this one; give it the same kind"
                )
            if isinstance(values, list):
                tables[f"{side}.{name}"] = codes(before[key][name], values)
    return tables


def _text(value: Any) -> str:
    """Return a value as an override has it."""
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value)


# --- the vocabulary -------------------------------------------------------------------


def make_vocabulary(model: Model, log: FunnelLog) -> dict[str, Any]:
    """Return ids of users and items and values of features read: the place is the code.

    Of a number they are {"mean": m, "deviation": d}, of a vector {"width": numbers}.
    """

    def values(spec: Any, feature: Feature) -> Any:
        if feature.kind == "vector":
            return {"width": spec.width}
        if feature.vocabulary is None:
            return {"mean": feature.mean, "deviation": feature.deviation}
        return json_values(feature.vocabulary)

    def of_features(specs: tuple, features: dict[str, Feature]) -> dict[str, Any]:
        read = [spec for spec in specs if spec.kind not in ("id", "history")]
        return {spec.name: values(spec, features[spec.name]) for spec in read}

    return {
        "users": json_values(log.user_ids),
        "items": json_values(log.item_ids),
        "user_features": of_features(model.query.features, log.user_features),
        "item_features": of_features(model.candidate.features, log.item_features),
    }


def json_values(values: pl.Series) -> list[int] | list[str]:
    """Return ids as JSON has them: whole numbers as numbers, all else as text."""
    return (values if values.dtype.is_integer() else values.cast(pl.String)).to_list()
