"""Checkpoints of a run: a folder of arrays each, and notes that make it count.

``checkpoints/<step>`` and then ``checkpoints/<step>.json`` appear by atomic renames, so
a process killed at any moment leaves either a whole checkpoint or one that does not
count. The notes are those of the loop (best step so far, seconds used), with the run
that the checkpoint belongs to and checksums: what was damaged since is refused.

A finished run keeps the parameters of its best validation alone, in
``checkpoints/<step>-params``: neither the optimizer's state nor the last state.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from twotower_jax.data.processes import alone, leads, meet
from twotower_jax.errors import InputError
from twotower_jax.training import stored_arrays
from twotower_jax.training.mesh import Layout
from twotower_jax.training.stored_arrays import (
    PATTERNS,
    DamagedError,
    notes_of,
    path_name,
)
from twotower_jax.training.types import TrainState

PLACE = "checkpoints"


class Saved(NamedTuple):
    """A checkpoint from which a training goes on.

    Attributes:
      state: The state.
      notes: As they were saved.
      refused: Why newer checkpoints are not used.
    """

    state: TrainState
    notes: dict[str, Any]
    refused: tuple[str, ...]


def check_place(folder: Path) -> None:
    """Refuse a folder with checkpoints elsewhere, or that Orbax takes for a pattern.

    A checkpoint is written and removed within the folder of its run. One process saves
    by another path to a folder that Orbax takes for a pattern; several cannot.
    """
    place = Path(folder) / PLACE
    if place.is_symlink():
        raise InputError(
            f"{place} is a link, and nothing outside of the folder of a run is written "
            "or removed; move the checkpoints there, or set output= to a folder where "
            "they fit"
        )
    path = str(Path(folder).absolute())
    found = next((one for one in sorted(PATTERNS) if one in path), None)
    if found is not None and not alone():
        raise InputError(
            f"output: the folder {path} has {found} in its path, below which several "
            "processes cannot save; set output= to a folder without * ? [, or start "
            "the command in one"
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

    def has_params(self, step: int) -> bool:
        """Return whether the parameters of a step are saved, alone or in a state."""
        return self._with_params(step).is_dir()

    def _with_params(self, step: int) -> Path:
        """Return the folder that has the parameters of a step."""
        alone = self._folder / f"{step}-params"
        return alone if alone.is_dir() else self._folder / str(step)

    def save(self, state: TrainState, notes: dict[str, Any], keep: set[int]) -> None:
        """Save a state and its notes; remove the other checkpoints."""
        step = int(state.step)
        self._write(str(step), state._asdict(), notes)
        self.keep_only({step, *keep})

    def _write(self, name: str, tree: dict[str, Any], notes: dict[str, Any]) -> None:
        kept = {"run": self._run, "notes": notes}
        stored_arrays.save(self._folder / name, tree, kept)

    def save_params(self, step: int, params: dict[str, Any]) -> None:
        """Save the parameters of a step alone; states are left as they are."""
        self._write(f"{step}-params", {"params": params}, {})

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

    def copy(self, folder: Path) -> tuple[list[int], tuple[str, ...]]:
        """Copy the states of a training that another folder goes on with.

        Files of arrays are never written again, and are hard links where the file
        system has them.
        """
        copied, refused = [], []
        for step in self.steps():
            path, place = self._folder / str(step), folder / PLACE / str(step)
            try:
                stored_arrays.read_notes(path)
            except DamagedError as error:
                refused.append(f"the checkpoint {path} cannot be read ({error})")
                continue
            shutil.copytree(path, place, copy_function=_link)
            shutil.copy2(notes_of(path), notes_of(place))
            copied.append(step)
        return copied, tuple(refused)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def newest(self, like: TrainState, layout: Layout) -> "Saved | None":
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
        try:
            kept = stored_arrays.read_notes(path)
            if kept["run"] != self._run:
                raise DamagedError(f"it is of the run {kept['run']}, not {self._run}")
            loaded = stored_arrays.read(path, like._asdict(), layout)
        except DamagedError as error:
            raise InputError(
                f"the checkpoint {path} cannot be read for this configuration "
                f"({error}); remove its folder to train from the start"
            ) from error
        return TrainState(**loaded), kept["notes"]

    def load_params(
        self, step: int, like: TrainState, layout: Layout
    ) -> dict[str, Any]:
        """Parameters of a step, saved alone or in a state."""
        path = self._with_params(step)
        alone = path.name.endswith("-params")
        tree = {"params": like.params} if alone else like._asdict()
        with _params_read(path):
            return stored_arrays.read(path, tree, layout)["params"]

    def read_params(self, step: int) -> dict[str, np.ndarray]:
        """Parameters of a step, of any towers, on the host."""
        path = self._with_params(step)
        with _params_read(path):
            loaded = stored_arrays.read_any(path)
        leaves = jax.tree_util.tree_leaves_with_path(loaded["params"])
        return {path_name(place): np.asarray(leaf) for place, leaf in leaves}


def _link(source: str, place: str) -> None:
    """Make a hard link, or a copy where the file system has none."""
    try:
        os.link(source, place)
    except OSError:
        shutil.copy2(source, place)


@contextmanager
def _params_read(path: Path) -> Iterator[None]:
    """Check parameters before they are read; those of version 0.1.0 have no notes."""
    try:
        if notes_of(path).is_file():
            stored_arrays.read_notes(path)
        yield
    except DamagedError as error:
        raise InputError(
            f"the checkpoint {path} cannot be read for this configuration ({error}); "
            "train that run again under another name="
        ) from error
