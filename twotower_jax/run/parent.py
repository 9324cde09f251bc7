"""The run whose parameters another run starts with: checks, and rows by id."""

from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from twotower_jax.config import Config
from twotower_jax.data.encode import codes_of
from twotower_jax.errors import InputError
from twotower_jax.model.two_tower import Model
from twotower_jax.run.inputs import Loaded, trains
from twotower_jax.run.records import RunFolder, stored_config
from twotower_jax.run.vocabulary import (
    find_vocabulary,
    make_vocabulary,
    read_vocabulary,
)
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.warm_start import KnownRows, WarmStart

# Keys that decide the shapes of parameters.
SHAPES = ("kind", "dim", "hidden")
OF_SEQUENCES = (
    "history_pooling",
    "history_length",
    "sequence.layers",
    "sequence.heads",
)


class Parent(NamedTuple):
    """A finished run that another one starts from.

    Attributes:
      folder: of the run.
      result: content of its result.json.
      identity: entry ``parent`` of the manifest of the run that starts from it.
    """

    folder: Path
    result: dict[str, Any]
    identity: dict[str, Any]


def find_parent(config: Config) -> Parent | None:
    """The run of ``training.start_from``, None where a run starts anew.

    Args:
      config: the run that starts from it.

    Raises:
      InputError: when the folder is missing, is not a finished run of the same towers,
        or has another name than the hash of the run.
    """
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
    poolings = {stored.towers.history_pooling, config.towers.history_pooling}
    for name in (*SHAPES, *(OF_SEQUENCES if "transformer" in poolings else ())):
        before, now = (attrgetter(name)(one.towers) for one in (stored, config))
        if before != now:
            raise InputError(
                f"{key} has towers.{name}={_text(before)}, and this run has "
                f"towers.{name}={_text(now)}; set towers.{name}={_text(before)}"
            )
    _check_files(folder, result["best_step"])
    if made.get("config_fingerprint") != folder.name:
        raise InputError(
            f"{key} is the run {made.get('config_fingerprint')} under another name; "
            "rename the folder to that, for it is part of this run's own hash"
        )
    names = ("config_fingerprint", "data_fingerprint")
    identity = {"folder": str(folder)} | {name: made[name] for name in names}
    return Parent(folder, result, identity | {"step": result["best_step"]})


def _check_files(folder: Path, step: int) -> None:
    """Refuse a run without its vocabulary or its checkpoint."""
    find_vocabulary(folder)
    if not Checkpoints(folder).has_params(step):
        raise InputError(
            f"{folder}/checkpoints lacks step {step}; train that run again under "
            "another name="
        )


def check_same_parent(record: RunFolder, parent: Parent | None) -> None:
    """Refuse to resume a run that another one started.

    Args:
      record: the run's folder.
      parent: the run that ``training.start_from`` names now.

    Raises:
      InputError: when it differs from that of the manifest in more than its place.
    """
    before = (record.read("manifest") or {}).get("parent")
    if before is None or parent is None:
        return
    if before | {"folder": None} != parent.identity | {"folder": None}:
        raise InputError(
            f"{record.path} began from {before}, but training.start_from now is "
            f"{parent.identity}; set name= to keep both, or move that folder away"
        )


def check_features(config: Config, parent: Parent | None) -> None:
    """Refuse towers that read other features than those of the run they start from.

    Args:
      config: the run that starts, with the features of both towers named.
      parent: the run that it starts from; None for none.

    Raises:
      InputError: when a list of features differs, or an incremental update reads no
        ids.
    """
    if parent is None:
        return
    for side in ("query", "candidate"):
        before = tuple(parent.result["towers"][side])
        now = getattr(config.towers, side)
        if before != now:
            raise InputError(
                f"training.start_from={parent.folder} has towers.{side}="
                f"{_text(before)}, and this run has towers.{side}={_text(now)}; set "
                f"towers.{side}={_text(before)}"
            )
    read = {*config.towers.query, *config.towers.candidate}
    if config.training.update == "incremental" and not read & {"id", "history"}:
        raise InputError(
            "training.update=incremental learns the embeddings of ids alone, and the "
            "towers read neither id nor history; use training.update=full"
        )


def warm_start(parent: Parent, model: Model, data: Loaded) -> WarmStart:
    """Parameters of the best validation of a run, its rows placed by id and value.

    Args:
      parent: the run; its towers read the same features.
      model: both towers of the run that starts from it.
      data: of the run that starts from it.
    """
    values = Checkpoints(parent.folder).read_params(parent.result["best_step"])
    places = _places(read_vocabulary(parent.folder), make_vocabulary(model, data.log))
    tables = {}
    for name, codes in places.items():
        if (table := values.pop(f"tables/{name}", None)) is not None:
            rows = np.flatnonzero(codes >= 0)
            known = KnownRows(rows.astype(np.int32), table[codes[rows]])
            tables[f"tables/{name}"] = known
    return WarmStart(tables, values)


def _places(before: dict[str, Any], now: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the code before of each code now by table, -1 for a new one."""

    def codes(first: list, second: list) -> np.ndarray:
        text = (pl.Series(one).cast(pl.String) for one in (second, first))
        return codes_of(*text)

    items = codes(before["items"], now["items"])
    places = {
        "query.id": codes(before["users"], now["users"]),
        "query.history": items,
        "candidate.id": items,
    }
    for side, key in (("query", "user_features"), ("candidate", "item_features")):
        for name, values in now[key].items():
            kinds = [_kind(before[key][name]), _kind(values)]
            if kinds[0] != kinds[1]:
                raise InputError(
                    f"the feature {name!r} is {kinds[0]} in the run of "
                    f"training.start_from and {kinds[1]} in this one; give it the same "
                    "kind"
                )
            if isinstance(values, list):
                places[f"{side}.{name}"] = codes(before[key][name], values)
    return places


def _kind(values: Any) -> str:
    """Return the kind of a feature by its entry in vocabulary.json."""
    if isinstance(values, list):
        return "a choice of values"
    return f"a vector of {values['width']}" if "width" in values else "numeric"


def _text(value: Any) -> str:
    """Return a value as an override has it."""
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value)
