"""Checkpoints of a run: a folder of arrays each, and notes that make it count.

``checkpoints/<step>`` (by Orbax) and then ``checkpoints/<step>.json`` appear by atomic
renames, so a process killed at any moment leaves either a whole checkpoint or one that
does not count. The notes are those of the loop (best step so far, seconds used), with
the run that the checkpoint belongs to and checksums of the folder's files: what was cut
off or damaged is refused before Orbax reads it.

A finished run keeps the parameters of its best validation alone, in
``checkpoints/<step>-params``: neither the optimizer's state nor the last state.
"""

import functools
import hashlib
import json
import logging
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from twotower_jax.arrays.processes import leads, meet
from twotower_jax.arrays.shards import MOST_SHARDS
from twotower_jax.data.drafts import checksum, draft_of, to_disk, writing
from twotower_jax.data.parse_text import parse_json
from twotower_jax.errors import InputError
from twotower_jax.training.mesh import Layout, MeshShape, make_mesh, spread_axis
from twotower_jax.training.types import TrainState

PLACE = "checkpoints"
CHUNK_BYTES = 2**23
# Characters of the patterns of file names.
PATTERNS = ("*", "?", "[")
# Orbax counts operations for the whole process: threads take turns.
_turn = threading.Lock()


class Saved(NamedTuple):
    """A checkpoint from which a training goes on."""

    state: TrainState
    notes: dict[str, Any]
    refused: tuple[str, ...]  # why newer checkpoints are not used


class DamagedError(ValueError):
    """What of a checkpoint is not as it was saved."""


def check_place(folder: Path) -> None:
    """Refuse a folder with checkpoints elsewhere, or that Orbax takes for a pattern."""
    own = Path(folder).absolute() / PLACE
    if own.is_symlink():
        raise InputError(
            f"{own} is a link, and nothing outside of the folder of a run is written "
            "or removed; move the checkpoints there, or set output= to a folder where "
            "they fit"
        )
    if any(sign in str(own) for sign in PATTERNS):
        raise InputError(
            f"output: the folder {own.parent} has one of {' '.join(PATTERNS)} in its "
            "path, and below such a folder no checkpoint can be saved; set output= to "
            "another, or start the command in another"
        )


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, run: str = ""):
        self._folder = Path(folder).absolute() / PLACE
        self._run = run

    def steps(self) -> list[int]:
        """Return the steps of complete states, from which a training goes on."""
        return [n for n in self._states() if notes_of(self._folder / str(n)).is_file()]

    def _states(self) -> list[int]:
        """Return the steps of states, complete or not."""
        if not self._folder.is_dir():
            return []
        names = (path.name for path in self._folder.iterdir() if path.is_dir())
        return sorted(int(name) for name in names if re.fullmatch(r"\d+", name))

    def with_params(self, step: int) -> Path:
        """Return the folder that has the parameters of a step, alone or in a state."""
        for name in (f"{step}-params", str(step)):
            if (path := self._folder / name).is_dir():
                return path
        raise InputError(
            f"{self._folder} lacks the parameters of step {step}, which the runs of a "
            "selection on validation do not keep; train again under another name="
        )

    def save(self, state: TrainState, notes: dict[str, Any], keep: set[int]) -> None:
        """Save a state and its notes; remove the other checkpoints."""
        path = self._folder / str(step := int(state.step))
        save_arrays(path, state._asdict(), {"run": self._run, "notes": notes})
        self.keep_only({step, *keep})

    def save_params(self, step: int, params: dict[str, Any]) -> None:
        """Save the parameters of a step alone; states are left as they are."""
        path = self._folder / f"{step}-params"
        save_arrays(path, {"params": params}, {"run": self._run, "notes": {}})

    def keep_only(self, steps: set[int]) -> None:
        """Remove all other states and the remains of interrupted saves."""
        meet("nobody reads a checkpoint")
        if not leads():
            return
        for old in set(self._states()) - steps:
            notes_of(self._folder / str(old)).unlink(missing_ok=True)
            shutil.rmtree(self._folder / str(old))
        for left in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in self._folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def newest(self, like: TrainState, layout: Layout) -> Saved | None:
        """The newest checkpoint that is whole; None where none was saved."""
        errors: list[InputError] = []
        for step in reversed(self._states()):
            try:
                state, notes = self.load(step, like, layout)
            except InputError as error:
                errors.append(error)
            else:
                return Saved(state, notes, tuple(map(str, errors)))
        if self.steps():
            raise errors[0]
        return None

    def load(
        self, step: int, like: TrainState, layout: Layout
    ) -> tuple[TrainState, dict[str, Any]]:
        """State and notes of a step."""
        path = self._folder / str(step)
        with _refused(path, "remove its folder to train from the start"):
            kept = read_notes(path)
            if kept["run"] != self._run:
                raise DamagedError(f"it is of the run {kept['run']}, not {self._run}")
            arrays = read_arrays(path, like._asdict(), layout)
            return TrainState(**arrays), kept["notes"]

    def load_params(
        self, step: int, like: TrainState, layout: Layout
    ) -> dict[str, Any]:
        """Parameters of a step, saved alone or in a state."""
        path = self.with_params(step)
        of_state = not path.name.endswith("-params")
        tree = like._asdict() if of_state else {"params": like.params}
        with _params_read(path):
            return read_arrays(path, tree, layout)["params"]

    def read_params(self, step: int) -> dict[str, np.ndarray]:
        """Parameters of a step, of any towers, on the host."""
        path = self.with_params(step)
        with _params_read(path):
            loaded = read_any_arrays(path)
        leaves = jax.tree_util.tree_leaves_with_path(loaded["params"])
        return {path_name(names): np.asarray(leaf) for names, leaf in leaves}


@contextmanager
def _params_read(path: Path) -> Iterator[None]:
    """Check parameters before they are read; those of version 0.1.0 have no notes."""
    with _refused(path, "train that run again under another name="):
        if notes_of(path).is_file():
            read_notes(path)
        yield


@contextmanager
def _refused(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except DamagedError as error:
        raise InputError(
            f"the checkpoint {path} cannot be read for this configuration ({error}); "
            f"{remedy}"
        ) from error


# --- a tree of arrays on disk, and its notes ------------------------------------------


def notes_of(path: Path) -> Path:
    """Return the file of notes of a folder of arrays."""
    return path.with_name(f"{path.name}.json")


def path_name(path: Any) -> str:
    """Name of an array by its path, the same in memory and in a checkpoint."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def save_arrays(path: Path, tree: dict[str, Any], notes: dict[str, Any]) -> None:
    """Write a tree of arrays and its notes; they count when the notes are there."""
    if leads():
        notes_of(path).unlink(missing_ok=True)
    with (
        _turn,
        _saving(tree),
        _late_writes_ignored(),
        writing(path),
    ):
        _orbax().save(str(path), tree, overwrite=True)
        if leads():
            to_disk(path)
    if leads():
        kept = {"notes": notes, "arrays": _shapes(tree), "files": _checksums(path)}
        text = json.dumps(kept | {"checksum": _checksum_of(kept)})
        with draft_of(notes_of(path)) as draft:
            draft.write_text(text, encoding="utf-8")
    meet("a checkpoint is whole")


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
    sums = _checksums(path)
    for name in sorted(sums.keys() | kept["files"].keys()):
        if sums.get(name) != kept["files"].get(name):
            raise DamagedError(f"{name} is damaged")
    return kept["notes"]


def read_arrays(path: Path, like: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """Arrays of known shapes, saved from any layout."""
    wanted = layout.stored(like)
    with _turn, _damaged():
        notes = notes_of(path)
        stored = parse_json(notes.read_text("utf-8")) if notes.exists() else {}
        # Compared first: a read that fails half-way leaves other reads open.
        if "arrays" in stored and not _same_arrays(stored["arrays"], wanted, layout):
            raise DamagedError("it has other arrays")
        with _padding():
            return _orbax().load(str(path), wanted)


def read_any_arrays(path: Path) -> dict[str, Any]:
    """Arrays of any shapes."""
    with _turn, _damaged():
        stored: Any = _orbax().metadata(str(path))
        layout = Layout(make_mesh(MeshShape()), {})
        with _padding():
            return _orbax().load(str(path), layout.stored(stored.metadata))


def _checksum_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _checksums(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder by its path in it."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): checksum(file) for file in files}


def _shapes(tree: Any) -> dict[str, Any]:
    """Return {path: [shape, dtype]} of the arrays of a tree, as JSON holds them."""
    return {
        path_name(path): [list(leaf.shape), str(leaf.dtype)]
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _same_arrays(stored: dict[str, Any], wanted: Any, layout: Layout) -> bool:
    """Whether arrays have the shapes and dtypes of a state, padding of tables aside."""
    expected = _shapes(wanted)
    for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        rows, name = layout.rows_of(path), path_name(path)
        if rows is None or not leaf.shape or name not in stored:
            continue
        axis, (shape, dtype) = spread_axis(path), stored[name]
        if len(shape) == leaf.ndim and 0 <= shape[axis] - rows < MOST_SHARDS:
            shape = [*shape[:axis], leaf.shape[axis], *shape[axis + 1 :]]
            stored = stored | {name: [shape, dtype]}
    return stored == expected


@contextmanager
def _damaged() -> Iterator[None]:
    """Context whose errors are those of a damaged folder."""
    try:
        yield
    except DamagedError:
        raise
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise DamagedError(type(error).__name__) from error


# --- Orbax ----------------------------------------------------------------------------


@functools.cache
def _orbax() -> Any:
    """Return Orbax, imported on use: a fifth of a second of every start."""
    from orbax.checkpoint import v1

    return v1


# An error that a thread of Orbax logs and then raises is shown once.
logging.getLogger("absl").addFilter(
    lambda record: "_SignalingThread" not in record.getMessage()
)
# Python warns of the coroutines of Orbax that a failed save did not start.
warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)


def _saving(tree: dict[str, Any]) -> Any:
    """Return a context that writes one large array at a time and copies none."""
    # Saving waits for the disk, so the arrays do not change under it.
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


def _padding() -> Any:
    """A context in which padding of tables is added or left out."""
    context = _orbax().Context()
    context.array.loading.enable_padding_and_truncation = True
    return context


@contextmanager
def _late_writes_ignored() -> Iterator[None]:
    """Context in which a failed save is one error."""
    # Its other writes end later, and TensorStore prints that the event loop to which
    # each reports is closed.
    before = sys.unraisablehook

    def hook(lost: "sys.UnraisableHookArgs") -> None:
        if str(lost.exc_value) != "Event loop is closed":
            before(lost)

    sys.unraisablehook = hook
    yield
    sys.unraisablehook = before  # not after an error: they may come later
