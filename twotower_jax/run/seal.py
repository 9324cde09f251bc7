"""Checksums of the files of a finished run, on which its result depends.

status.json is written last and holds them. A file that was changed or damaged since is
refused where it is read. Runs of version 0.1.0 have none and are read as they are.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from twotower_jax.errors import InputError

FILES = (
    "config.yaml",
    "manifest.json",
    "metrics.jsonl",
    "qrels.trec",
    "queries.parquet",
    "result.json",
    "topk.parquet",
    "topk.trec",
    "vocabulary.json",
)


def checksums(folder: Path) -> dict[str, str]:
    """Return {file: SHA-256 in hexadecimal digits} of the files that a run has.

    Args:
      folder: of the run.
    """
    params = (folder / "checkpoints").glob("*-params.json")
    names = [*FILES, *(f"checkpoints/{one.name}" for one in sorted(params))]
    return {
        name: _checksum(folder / name) for name in names if (folder / name).is_file()
    }


def changed_file(folder: Path, kept: Mapping[str, object]) -> str | None:
    """Return what happened to the first file of a run that is not as it was, or None.

    Checkpoints, which a selection removes, are compared where they are read.

    Args:
      folder: of the run.
      kept: its checksums.
    """
    found = (damage(folder, kept, name) for name in FILES)
    return next((one for one in found if one is not None), None)


def damage(folder: Path, kept: Mapping[str, object], name: str) -> str | None:
    """Return what happened to a file of a finished run; None where it is as it was.

    Args:
      folder: of the run.
      kept: its checksums; a file without one is not compared.
      name: of the file.
    """
    if name not in kept:
        return None
    if not (folder / name).is_file():
        return f"{name} is missing"
    if _checksum(folder / name) != kept[name]:
        return f"{name} is not as the run wrote it (another checksum)"
    return None


def check_seal(
    folder: Path, kept: Mapping[str, object], name: str | None = None
) -> None:
    """Refuse a file of a finished run that was changed or damaged.

    Args:
      folder: of the run.
      kept: its checksums.
      name: of the file; None for all but checkpoints.

    Raises:
      InputError: naming the file, the first of several.
    """
    found = damage(folder, kept, name) if name else changed_file(folder, kept)
    if found is not None:
        raise InputError(
            f"{folder}: {found}; restore the file, or remove the folder and run again"
        )


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
