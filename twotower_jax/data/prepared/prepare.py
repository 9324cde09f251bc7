"""Preparation of a log: once, by streaming, into a folder of arrays.

A preparation that ends at any moment is gone on with by the same command: chunks of the
tables, and arrays, are named when they are whole, and the index of the folder is
written last.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from twotower_jax.arrays.mapped import release
from twotower_jax.data import sources
from twotower_jax.data.build import filter_log
from twotower_jax.data.config import PATHS, DataConfig
from twotower_jax.data.drafts import draft_of, sync
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.prepared.arrays import (
    PAIRS,
    PARTS,
    load_log,
    load_split,
    save_array,
    save_log,
)
from twotower_jax.data.prepared.chunks import Say, code_chunks, write_chunks
from twotower_jax.data.prepared.funnel import save_funnel
from twotower_jax.data.prepared.histories import save_histories
from twotower_jax.data.prepared.index import (
    FORMAT,
    INDEX,
    LOG,
    checksums,
    read_index,
)
from twotower_jax.data.prepared.known import save_known
from twotower_jax.data.sources.table import table_files
from twotower_jax.data.split import rows_before, split_rows
from twotower_jax.data.summary import data_fingerprint, weights_fingerprint
from twotower_jax.errors import InputError
from twotower_jax.registry import to_dict

BEGUN, WORK, CODED = "begun.json", "work", "coded"


def prepare(config: DataConfig, out: Path, say: Say) -> dict[str, Any]:
    """Write a log and its split into a folder; go on where an earlier call ended.

    Tables are read by streaming, the other sources in memory.
    """
    if (made := _found(config, out)) is not None:
        _finish(out)
        return made
    # Wrong paths, and all that is wrong in another source, are seen before any file.
    if config.source == "table":
        table_files(config)
        _begin(config, out)
        log, features = _streamed(config, out, say)
    else:
        say("log read", 0, None)
        log = sources.load(config)
        _begin(config, out)
        features = save_log(out / LOG, log)
    index = _indexed(config, out, log, features, say)
    _write(out / INDEX, index)
    _finish(out)
    return index


def _finish(out: Path) -> None:
    """Remove what a finished folder does not need."""
    (out / BEGUN).unlink(missing_ok=True)
    shutil.rmtree(out / WORK, ignore_errors=True)
    sync(out)


def _indexed(
    config: DataConfig,
    out: Path,
    log: FunnelLog,
    features: list[dict[str, Any]],
    say: Say,
) -> dict[str, Any]:
    """Split a log, write what trainings read, and return the index of the folder."""
    say("split", 0, None)
    rows = split_rows(log, config)
    for name in PARTS:
        if (part := getattr(rows, name)) is not None:
            _save_part(out / name, log, part)
    parts = load_split(out, rows.report)
    say("histories", 0, None)
    save_histories(out, parts, log.num_users)
    say("hard negatives", 0, None)
    save_funnel(out, log, parts)
    save_known(out, log, parts)
    say("checksums", 0, None)
    return {
        **_identity(config),
        "fingerprint": data_fingerprint(log, parts),
        "weights_fingerprint": weights_fingerprint(parts),
        "users": log.num_users,
        "items": log.num_items,
        "rows": len(log.user),
        "parts": {
            name: len(part)
            for name in PARTS
            if (part := getattr(parts, name)) is not None
        },
        "report": parts.report,
        "dropped": log.dropped,
        "features": features,
        "checksums": checksums(out),
    }


def _save_part(folder: Path, log: FunnelLog, rows: np.ndarray) -> None:
    """Write the positives of a part, a column at a time."""
    for name in PAIRS:
        if (values := getattr(log, name)) is not None:
            save_array(folder / f"{name}.npy", values[rows])
            release(values)


def _found(config: DataConfig, out: Path) -> dict[str, Any] | None:
    """Return the index of a folder that holds these data whole, None of another one."""
    own = _identity(config)
    for name in (INDEX, BEGUN):
        if not (out / name).is_file():
            continue
        found = read_index(out / name)
        changed = next((key for key in own if found.get(key) != own[key]), None)
        if changed is not None and (name == INDEX or _holds_rows(out)):
            raise InputError(
                f"{out} holds {REASONS[changed]}; give another --out, or move that "
                "folder away"
            )
        return found if name == INDEX else None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty; give another --out")
    return None


def _holds_rows(out: Path) -> bool:
    """Return whether a folder that was begun has a file beside the note of that.

    It has none where the first rows were refused, as for a misspelt column.
    """
    return any(one.is_file() for one in out.rglob("*") if one != out / BEGUN)


def _begin(config: DataConfig, out: Path) -> None:
    """Make the folder, and note which data it is for."""
    if (out / BEGUN).is_file() and _holds_rows(out):
        return
    _check_space(config, out)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / BEGUN, _identity(config))


def _identity(config: DataConfig) -> dict[str, Any]:
    return {"format": FORMAT, "data": to_dict(config), "files": _files(config)}


REASONS = {
    "format": "data prepared by another version of twotower_jax",
    "data": "data prepared with other keys",
    "files": "data prepared from other files, or from these before they changed",
}


def _check_space(config: DataConfig, out: Path) -> None:
    """Refuse a disk with less space than the files that are read have.

    Text is larger than the arrays and chunks of it; parquet files, which are smaller,
    are counted three times.
    """
    size = sum(
        file["bytes"] * (3 if file["name"].endswith(".parquet") else 1)
        for file in _files(config)
    )
    there = next(one for one in (out, *out.resolve().parents) if one.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise InputError(
            f"{out} needs up to {size / 1e6:,.1f} MB, and its disk has "
            f"{free / 1e6:,.1f} MB free; give an --out on a larger one"
        )


def _streamed(
    config: DataConfig, out: Path, say: Say
) -> tuple[FunnelLog, list[dict[str, Any]]]:
    """Return the log of tables, filtered, with its arrays written, and its features."""
    folder, work = out / LOG, out / WORK
    write_chunks(config, work, say)
    if (work / CODED).exists():
        made = read_index(work / CODED)
    else:
        made = code_chunks(config, work, folder, say)
        _write(work / CODED, made)
    raw = load_log(folder, made["features"], made["dropped"])
    log = filter_log(
        rows_before(raw, config.until),
        min_user_positives=config.min_user_positives,
        min_item_positives=config.min_item_positives,
    )
    if log.user is raw.user:
        return log, made["features"]
    # From here on the arrays are no longer those of the chunks.
    (work / CODED).unlink()
    sync(work)
    return log, save_log(folder, log)


def _files(config: DataConfig) -> list[dict[str, Any]]:
    """Return name, bytes and time of change of the files that a log is read from."""
    paths = [Path(path) for name in PATHS if (path := getattr(config, name))]
    files = [
        one
        for path in paths
        for one in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if one.is_file()
    ]
    found = [(str(one), one.stat()) for one in files]
    return [
        {"name": name, "bytes": stat.st_size, "changed": stat.st_mtime_ns}
        for name, stat in found
    ]


def _write(path: Path, values: dict[str, Any]) -> None:
    """Write JSON whole or not at all."""
    with draft_of(path) as draft:
        draft.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
