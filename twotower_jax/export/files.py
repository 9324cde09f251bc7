"""The folder of an exported model: its files, their checksums, and the manifest.

The folder is written under a temporary name and then renamed, so that a folder with the
final name is complete.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.data.drafts import checksum, draft_of
from twotower_jax.data.parse_text import parse_json
from twotower_jax.errors import InputError

FORMAT, LISTS_FORMAT = "twotower-export", "twotower-lists"
FORMAT_VERSION = 3

MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.json"
ITEM_VECTORS = "item_vectors.npy"
ITEM_TABLE = "item_vectors.parquet"
USERS = "users.npz"
LISTS = "lists.parquet"
SERVE = "serve.py"
README = "README.md"
# Of the query and of the item.
TOWERS = {"query": "query_tower.jaxexport", "candidate": "item_tower.jaxexport"}


def check_new(out: Path) -> None:
    """Refuse a folder that would be overwritten."""
    if out.is_symlink() and not out.exists():
        raise InputError(f"--out {out} is a link that leads nowhere; give a new folder")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a new folder")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"--out {out} exists and is not empty; give a new folder, or remove it"
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Context of a temporary folder, which becomes the folder when nothing failed."""
    check_new(out)
    final = out.resolve()
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        with draft_of(final) as draft:
            draft.mkdir()
            yield draft
    except OSError:
        check_new(out)  # another command has written it meanwhile
        raise


def checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of every file of a folder but the manifest."""
    paths = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    return {
        path.name: {"sha256": checksum(path), "bytes": path.stat().st_size}
        for path in paths
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """Content of the manifest of an export, whose files are compared with it."""
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder} has no {MANIFEST}; give a folder that twotower export wrote, or "
            "that of a run"
        )
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
        known = manifest["format"] in (FORMAT, LISTS_FORMAT)
        sums = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        known = False
    if not known:
        raise InputError(
            f"{path} is not that of an exported model, or was changed; give a folder "
            "that twotower export wrote"
        )
    if (version := manifest.get("format_version")) != FORMAT_VERSION:
        raise InputError(
            f"{path} has format_version {version}, this program reads {FORMAT_VERSION};"
            " export the run again, or use the version of twotower-jax that wrote it"
        )
    for name, digest in sums.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is missing; copy the whole folder again")
        if checksum(folder / name) != digest:
            raise InputError(
                f"{folder / name} has another SHA-256 than in {MANIFEST}; copy the "
                "folder again"
            )
    return manifest


def lists_table(
    keys: pl.Series, ids: pl.Series, codes: np.ndarray, scores: np.ndarray
) -> pl.DataFrame:
    """Lists in long form: keys [n], codes [n, k] of ids, -1 for an empty place."""
    number, k = codes.shape
    kept = codes.reshape(-1) >= 0
    ranks = np.tile(np.arange(1, k + 1, dtype=np.int32), number)[kept]
    return pl.DataFrame(
        {
            keys.name: keys.gather(np.repeat(np.arange(number), k)[kept]),
            "rank": ranks,
            ids.name: ids.gather(codes.reshape(-1)[kept]),
            "score": scores.reshape(-1)[kept],
        }
    )
