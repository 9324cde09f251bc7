"""Preparation of a log: once, by streaming, into a folder of arrays.

A preparation that ends at any moment is gone on with by the same command: chunks of the
tables, and arrays, are named when they are whole, and the index of the folder is
written last.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from twotower_jax.config.convert import to_dict
from twotower_jax.config.data import PATHS, DataConfig
from twotower_jax.config.parse_text import parse_json
from twotower_jax.data import sources
from twotower_jax.data.build import filter_log
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.prepared.arrays import PAIRS, load_log, save_columns, save_log
from twotower_jax.data.prepared.chunks import Say, write_chunks
from twotower_jax.data.prepared.code import code_chunks
from twotower_jax.data.split import split
from twotower_jax.data.summary import data_fingerprint, weights_fingerprint
from twotower_jax.data.window import rows_before
from twotower_jax.errors import InputError

FORMAT = 1
INDEX, BEGUN, WORK, LOG, CODED = "prepared.json", "begun.json", "work", "log", "coded"
PARTS = ("train", "valid", "test", "before")


def prepare(config: DataConfig, out: Path, say: Say) -> dict[str, Any]:
    """Write a log and its split into a folder; go on where an earlier call ended.

    Tables are read by streaming, the other sources in memory.

    Args:
      config: the section ``data`` of a configuration.
      out: the folder; made where it is missing.
      say: told what is done, the rows so far and those of all.

    Returns:
      The index of the folder.

    Raises:
      InputError: the folder holds something else, or anything wrong in the data.
    """
    made = _begin(config, out)
    if made is not None:
        return made
    log, features = _coded(config, out, say)
    say("split", len(log.user), len(log.user))
    parts = split(log, config)
    sizes = {}
    for name in PARTS:
        if (pairs := getattr(parts, name)) is not None:
            save_columns(out / name, pairs, PAIRS)
            sizes[name] = len(pairs)
    index = {
        "format": FORMAT,
        "data": to_dict(config),
        "files": _files(config),
        "fingerprint": data_fingerprint(log, parts),
        "weights_fingerprint": weights_fingerprint(parts),
        "users": log.num_users,
        "items": log.num_items,
        "rows": len(log.user),
        "parts": sizes,
        "report": parts.report,
        "dropped": log.dropped,
        "features": features,
        "checksums": checksums(out),
    }
    _write(out / INDEX, index)
    (out / BEGUN).unlink()
    shutil.rmtree(out / WORK, ignore_errors=True)
    return index


def _begin(config: DataConfig, out: Path) -> dict[str, Any] | None:
    """Make the folder, or find what is in it; return the index of a finished one.

    Raises:
      InputError: it holds something else than these data, prepared in whole or in part.
    """
    own = {"format": FORMAT, "data": to_dict(config), "files": _files(config)}
    for name in (INDEX, BEGUN):
        if not (out / name).is_file():
            continue
        found = read_index(out / name)
        changed = next((key for key in own if found.get(key) != own[key]), None)
        if changed is not None:
            raise InputError(
                f"{out} holds {REASONS[changed]}; give another --out, or move that "
                "folder away"
            )
        return found if name == INDEX else None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    _check_space(config, out)
    _write(out / BEGUN, own)
    return None


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
    free = shutil.disk_usage(out).free
    if size > free:
        raise InputError(
            f"{out} needs up to {size / 1e9:.1f} GB, and its disk has "
            f"{free / 1e9:.1f} GB free; give an --out on a larger one"
        )


def _coded(
    config: DataConfig, out: Path, say: Say
) -> tuple[FunnelLog, list[dict[str, Any]]]:
    """Return the log, filtered, with its arrays written, and its features."""
    folder, work = out / LOG, out / WORK
    if config.source != "table":
        say("log read", 0, None)
        log = sources.load(config)
        features = save_log(folder, log)
        return load_log(folder, features, log.dropped), features
    write_chunks(config, work, say)
    if (work / CODED).exists():
        made = read_index(work / CODED)
    else:
        say("ids replaced by codes", 0, None)
        made = code_chunks(config, work, folder)
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


def checksums(folder: Path) -> dict[str, str]:
    """Return {file: SHA-256} of the arrays of a folder, by their paths within it.

    Args:
      folder: that is prepared.
    """
    found = {}
    for part in (LOG, *PARTS):
        for path in sorted((folder / part).glob("*")):
            if path.suffix == ".tmp":  # of a call that was killed
                path.unlink()
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[f"{part}/{path.name}"] = digest
    return found


def read_index(path: Path) -> dict[str, Any]:
    """Return the content of an index.

    Args:
      path: of the file.

    Raises:
      InputError: it is damaged.
    """
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, InputError) as error:
        raise InputError(
            f"{path} is damaged: {error}; prepare the data again"
        ) from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: no JSON object; prepare it again")
    return found


def _write(path: Path, values: dict[str, Any]) -> None:
    """Write JSON whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
