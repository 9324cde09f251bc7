"""Logs that `twotower data prepare` wrote, as memory maps."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.log import FunnelLog, Pairs, Split
from twotower_jax.data.prepared.arrays import PARTS, SIDES, load_log, load_split
from twotower_jax.data.prepared.index import (
    FORMAT,
    INDEX,
    LOG,
    checksums,
    read_index,
)
from twotower_jax.data.sources.files import need_folder
from twotower_jax.errors import InputError

# Keys of the section that a prepared folder leaves to the run.
FREE = ("source", "path", "mask_seen", "columns", "simulator", "recflow", "kuairand")
HINT = "the prepared.json of `twotower data prepare`"


def load(config: DataConfig) -> FunnelLog:
    """Return a prepared log; its columns are memory maps."""
    folder, index = _index(config)
    log = load_log(folder / LOG, index["features"], index["dropped"])
    if config.columns.weight is None:
        log = dataclasses.replace(log, weight=None)
    return log


def stored_split(config: DataConfig) -> tuple[Split, str]:
    """The split of a prepared log, as memory maps, and the fingerprint of both."""
    folder, index = _index(config)
    parts = load_split(folder, index["report"])
    if config.columns.weight is None and parts.train.weight is not None:
        parts = dataclasses.replace(
            parts, **{name: _without_weight(getattr(parts, name)) for name in PARTS}
        )
    return parts, index["fingerprint"]


def checked_folder(config: DataConfig) -> Path:
    """Return the folder of a prepared log: whole, undamaged and with the run's keys."""
    return _index(config)[0]


def _without_weight(pairs: Pairs | None) -> Pairs | None:
    return None if pairs is None else dataclasses.replace(pairs, weight=None)


def _index(config: DataConfig) -> tuple[Path, dict[str, Any]]:
    """Return the folder and its index, checked."""
    folder = need_folder(config.path, "data.path", HINT)
    path = folder / INDEX
    if not path.is_file():
        raise InputError(
            f"data.path={str(folder)!r} holds no {INDEX}: it is unfinished, or not a "
            "prepared folder; finish it with the command that began it, or give another"
        )
    index = read_index(path)
    if index.get("format") != FORMAT:
        raise InputError(
            f"{path} is of format {index.get('format')!r}, and this version reads "
            f"{FORMAT}; prepare the data again"
        )
    _check_types(path, index)
    _check_keys(config, folder, index)
    stat = os.stat(path)
    _check_arrays(folder, stat.st_mtime_ns, stat.st_ino)
    return folder, index


# What an index holds, and each feature in it.
TYPES = {
    "data": dict,
    "parts": dict,
    "report": dict,
    "dropped": dict,
    "features": list,
    "checksums": dict,
    "fingerprint": str,
}
FEATURE = {
    "side": str,
    "name": str,
    "stem": str,
    "kind": str,
    "size": int,
    "mean": float | int,
    "deviation": float | int,
    "vocabulary": bool,
}


def _check_types(path: Path, index: dict[str, Any]) -> None:
    """Refuse an index that `prepare` cannot have written."""
    rows = [(index, TYPES)]
    if isinstance(index.get("features"), list):
        rows += [(one, FEATURE) for one in index["features"]]
    for row, types in rows:
        for key, kind in types.items():
            if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                raise InputError(f"{path} is damaged: {key} is wrong; prepare it again")
    for one in index["features"]:
        stored = f"{LOG}/{one['stem']}.npy" in index["checksums"]
        if not stored or one["side"] not in SIDES:
            raise InputError(
                f"{path} is damaged: it names a feature {one['stem']!r} without a "
                "file; prepare it again"
            )


def _check_keys(config: DataConfig, folder: Path, index: dict[str, Any]) -> None:
    """Refuse keys that were decided when the data were prepared."""
    default = DataConfig(split="given")
    for one in dataclasses.fields(DataConfig):
        value = getattr(config, one.name)
        if one.name not in FREE and value != getattr(default, one.name):
            raise InputError(
                f"data.{one.name}={value} is decided when data are prepared, and "
                f"{folder} has {index['data'].get(one.name)}; leave it out, or prepare "
                "the data with it"
            )
    columns = index["data"].get("columns")
    stored = columns.get("weight") if isinstance(columns, dict) else None
    weight = config.columns.weight
    if weight not in (None, stored):
        raise InputError(
            f"positives.weight={weight} is not a column of {folder}, which was "
            f"prepared with positives.weight={stored}; prepare the data with it"
        )
    named = dataclasses.replace(config.columns, weight=None)
    if named != ColumnsConfig():
        raise InputError(
            f"data.columns names columns of a table, and {folder} was prepared with "
            "those of its own; leave data.columns out"
        )


@functools.lru_cache(maxsize=8)
def _check_arrays(folder: Path, changed: int, inode: int) -> None:
    """Refuse a folder with a missing, damaged or additional array, once per index."""
    del changed, inode
    kept = read_index(folder / INDEX)["checksums"]
    found = checksums(folder)
    for name in sorted(kept | found):
        if kept.get(name) != found.get(name):
            raise InputError(
                f"{folder / name} {_change(name in kept, name in found)}; prepare the "
                "data again into another folder"
            )


def _change(kept: bool, found: bool) -> str:
    """Return how an array differs from the index: which of the two has its name."""
    if not found:
        return "is missing"
    return "has another checksum than when it was prepared" if kept else "is unknown"
