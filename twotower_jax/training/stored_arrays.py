"""Trees of arrays on disk: a folder that Orbax writes, and beside it a file of notes.

The notes are written last and hold the checksums of the folder's files, so that what
was cut off or damaged is found before Orbax reads it.
"""

import functools
import hashlib
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import jax

from twotower_jax.config.parse_text import parse_json
from twotower_jax.data.drafts import (
    checksum,
    draft_of,
    scratch,
    to_disk,
    writing,
)
from twotower_jax.data.processes import leads, meet
from twotower_jax.data.shards import MOST_SHARDS
from twotower_jax.training.mesh import Layout, MeshShape, make_mesh, spread_axis

CHUNK_BYTES = 2**23
# Characters of the patterns of file names.
PATTERNS = frozenset("*?[")
# Orbax counts operations for the whole process: threads take turns.
_turn = threading.Lock()


@functools.cache
def _orbax() -> Any:
    """Return Orbax, imported on use: a fifth of a second of every start."""
    from orbax.checkpoint import v1

    with suppress(ImportError):  # a private module, which another version may not have
        # Orbax logs how many bytes TensorStore moved, and TensorStore never frees the
        # lists that it returns: 20 kB at each save.
        counts: Any = import_module(
            "orbax.checkpoint._src.serialization.tensorstore_utils"
        )
        if hasattr(counts, "get_tensorstore_raw_bytes"):
            counts.get_tensorstore_raw_bytes = lambda *_: 0
    return v1


def _is_logged(record: logging.LogRecord) -> bool:
    """Return False for an error that a thread of Orbax logs and then raises."""
    return "_SignalingThread" not in record.getMessage()


logging.getLogger("absl").addFilter(_is_logged)
# Python warns of the coroutines of Orbax that a failed save did not start.
warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)


class DamagedError(ValueError):
    """What of a checkpoint is not as it was saved."""


def notes_of(path: Path) -> Path:
    """Return the file of notes of a folder of arrays."""
    return path.with_name(f"{path.name}.json")


def save(path: Path, tree: dict[str, Any], notes: dict[str, Any]) -> None:
    """Write a tree of arrays and its notes; they count when the notes are there."""
    if leads():
        notes_of(path).unlink(missing_ok=True)
    with (
        _turn,
        _saving(tree),
        _named_plainly(path) as place,
        _late_writes_ignored(),
        writing(path),
    ):
        _orbax().save(str(place), tree, overwrite=True)
        if leads():
            to_disk(path)
    if leads():
        _write_notes(path, notes, _arrays(tree))
    meet("a checkpoint is whole")


@contextmanager
def _late_writes_ignored() -> Iterator[None]:
    """Context in which a failed save is one error.

    The other writes of that save end later, and TensorStore prints that the event loop
    to which each reports is closed.
    """
    before = sys.unraisablehook

    def hook(lost: "sys.UnraisableHookArgs") -> None:
        if str(lost.exc_value) != "Event loop is closed":
            before(lost)

    sys.unraisablehook = hook
    yield
    sys.unraisablehook = before  # not after an error: they may come later


@contextmanager
def _named_plainly(path: Path) -> Iterator[Path]:
    """Context with a path to the same place that Orbax does not take for a pattern.

    It looks for the parts of a checkpoint by patterns, and below a folder such as
    ``a[1]`` it would leave them where it does not read them.
    """
    if not PATTERNS & set(str(path)):
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch() as folder:
        link = folder / "checkpoints"
        link.symlink_to(path.parent, target_is_directory=True)
        yield link / path.name


def _write_notes(path: Path, notes: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write notes with the arrays and the checksums of the files of a folder."""
    kept = {"notes": notes, "arrays": arrays, "files": _checksums(path)}
    text = json.dumps(kept | {"checksum": _checksum_of(kept)})
    with draft_of(notes_of(path)) as draft:
        draft.write_text(text, encoding="utf-8")


def read_notes(path: Path) -> dict[str, Any]:
    """Notes of a folder of arrays whose files are as they were saved."""
    try:
        kept = parse_json(notes_of(path).read_text(encoding="utf-8"))
        written = kept.pop("checksum")
        if written != _checksum_of(kept):
            raise DamagedError("its notes are damaged")
    except FileNotFoundError:
        raise DamagedError("its notes are missing") from None
    except (ValueError, KeyError, AttributeError):
        raise DamagedError("its notes are damaged") from None
    found = _checksums(path)
    for name in sorted(found.keys() | kept["files"].keys()):
        if found.get(name) != kept["files"].get(name):
            raise DamagedError(f"{name} is damaged")
    return kept["notes"]


def read(path: Path, like: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """Arrays of known shapes, saved from any layout."""
    wanted = layout.stored(like)
    with _turn, _damaged():
        # Compared first: a read that fails half-way leaves other reads open.
        if not _same_arrays(_stored_arrays(path), wanted, layout):
            raise DamagedError("it has other arrays")
        with _padding():
            return _orbax().load(str(path), wanted)


def read_any(path: Path) -> dict[str, Any]:
    """Arrays of any shapes."""
    with _turn, _damaged():
        stored: Any = _orbax().metadata(str(path))
        layout = Layout(make_mesh(MeshShape()), {})
        with _padding():
            return _orbax().load(str(path), layout.stored(stored.metadata))


def path_name(path: Any) -> str:
    """Name of an array by its path, the same in memory and in a checkpoint."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _checksum_of(values: dict[str, Any]) -> str:
    """Return the SHA-256 of values that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _checksums(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder by its path in it."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): checksum(file) for file in files}


@contextmanager
def _damaged() -> Iterator[None]:
    """Context whose errors are those of a damaged folder."""
    try:
        yield
    except DamagedError:
        raise
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise DamagedError(type(error).__name__) from error


def _padding() -> Any:
    """Return a context in which padding of tables is added or left out."""
    context = _orbax().Context()
    context.array.loading.enable_padding_and_truncation = True
    return context


def _arrays(tree: Any) -> dict[str, Any]:
    """Return {path: [shape, dtype]} of the arrays of a tree, as JSON holds them."""
    return {
        path_name(path): [list(leaf.shape), str(leaf.dtype)]
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _stored_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a folder by its notes, or by Orbax where they lack them.

    Each look of Orbax at a folder leaves about 35 kB in the process: lists that
    TensorStore makes of JSON are never freed.
    """
    notes = notes_of(path)
    kept = parse_json(notes.read_text(encoding="utf-8")) if notes.exists() else {}
    if "arrays" in kept:
        return kept["arrays"]
    stored: Any = _orbax().metadata(str(path))
    return _arrays(stored.metadata)


def _same_arrays(stored: dict[str, Any], wanted: Any, layout: Layout) -> bool:
    """Return whether arrays have the shapes and dtypes of a state.

    A table counts without its padding, which differs between layouts.
    """
    leaves = jax.tree_util.tree_leaves_with_path(wanted)
    if stored.keys() != {path_name(path) for path, _ in leaves}:
        return False

    def size(path: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
        rows = layout.rows_of(path)
        if rows is None or not shape:
            return shape
        axis = spread_axis(path)
        padding = shape[axis] - rows
        room = rows if 0 <= padding < MOST_SHARDS else shape[axis]
        return *shape[:axis], room, *shape[axis + 1 :]

    def same(path: Any, leaf: Any) -> bool:
        shape, dtype = stored[path_name(path)]
        return dtype == str(leaf.dtype) and (
            size(path, tuple(shape)) == size(path, leaf.shape)
        )

    return all(same(path, leaf) for path, leaf in leaves)


def _saving(tree: dict[str, Any]) -> Any:
    """Return a context that writes one large array at a time and copies none.

    Saving waits for the disk, so the arrays do not change under it.
    """
    context = _orbax().Context()
    largest = max(leaf.nbytes for leaf in jax.tree.leaves(tree))
    context.memory.write_concurrent_bytes = largest + 2**26
    context.memory.deepcopy_host_arrays = False
    # In a thread of its own, a folder that cannot be made is waited for, for minutes.
    context.asynchronous.create_directories_asynchronously = False
    saving = context.array.saving
    saving.storage_options.chunk_byte_size = CHUNK_BYTES
    # Floats hardly compress; without it a large table saves in half the time.
    saving.use_compression = False
    return context
