"""Checkpoints of a run: Orbax writes each to its own folder, visible when complete.

``checkpoints/<step>`` appears by an atomic rename, so a process killed at any moment
leaves either the whole checkpoint or none. The notes of the loop (best step so far,
seconds used) are stored as the checkpoint's metadata.

A finished run keeps the parameters of its best validation alone, in
``checkpoints/<step>-params``: neither the optimizer's state nor the last state.
"""

import re
import shutil
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from twotower_jax.errors import InputError
from twotower_jax.training.mesh import make_mesh, whole
from twotower_jax.training.types import TrainState

CHUNK_BYTES = 2**23
# Orbax counts operations for the whole process: threads take turns.
_turn = threading.Lock()


class Checkpoints:
    """The checkpoints of one run.

    Args:
      folder: Folder of the run; the checkpoints are in its folder "checkpoints".
    """

    def __init__(self, folder: Path):
        self._folder = Path(folder).absolute() / "checkpoints"

    def steps(self) -> list[int]:
        """Return the steps of complete states, from which a training goes on."""
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
        """Save a state and its notes; remove the other checkpoints.

        Args:
          state: State after a step.
          notes: Values that JSON can hold.
          keep: Steps of the older checkpoints that are kept.
        """
        step = int(state.step)
        self._write(str(step), state._asdict(), notes)
        self.keep_only({step, *keep})

    def _write(self, name: str, tree: dict[str, Any], notes: dict[str, Any]) -> None:
        with _turn, _saving(tree):
            path = str(self._folder / name)
            ocp.save(path, tree, custom_metadata=notes, overwrite=True)

    def save_params(self, step: int, params: dict[str, Any]) -> None:
        """Save the parameters of a step alone; states are left as they are.

        Args:
          step: Step of the parameters.
          params: Of both towers.
        """
        self._write(f"{step}-params", {"params": params}, {})

    def keep_only(self, steps: set[int]) -> None:
        """Remove all other states and the remains of interrupted saves."""
        for old in self.steps():
            if old not in steps:
                shutil.rmtree(self._folder / str(old))
        for left in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(left, ignore_errors=True)

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def load(
        self, step: int, like: TrainState, mesh: Mesh
    ) -> tuple[TrainState, dict[str, Any]]:
        """State and notes of a step.

        Args:
          step: One of ``steps()``.
          like: A state, or its shapes, of the same structure.
          mesh: Devices that hold the state.

        Returns:
          The state, whole on every device, and the notes.

        Raises:
          InputError: The checkpoint has other arrays, or cannot be read.
        """
        loaded, notes = _read(self._folder / str(step), like._asdict(), mesh)
        return TrainState(**loaded), notes

    def load_params(self, step: int, like: TrainState, mesh: Mesh) -> dict[str, Any]:
        """Parameters of a step, saved alone or in a state.

        Args:
          step: A step for which ``has_params``.
          like: A state, or its shapes, with the same parameters.
          mesh: Devices that hold them.

        Returns:
          The parameters, whole on every device.

        Raises:
          InputError: The checkpoint has other arrays, or cannot be read.
        """
        path = self._with_params(step)
        alone = path.name.endswith("-params")
        tree = {"params": like.params} if alone else like._asdict()
        return _read(path, tree, mesh)[0]["params"]

    def read_params(self, step: int) -> dict[str, np.ndarray]:
        """Parameters of a step, of any towers, on the host.

        Args:
          step: A step for which ``has_params``.

        Returns:
          {path: array}, such as "tables/query.id".

        Raises:
          InputError: The checkpoint is missing, or cannot be read.
        """
        path = str(self._with_params(step))
        try:
            with _turn:
                stored: Any = ocp.metadata(path)
                loaded = ocp.load(path, _abstract(stored.metadata, make_mesh(1)))
        except (ValueError, KeyError, OSError, TypeError) as error:
            raise InputError(
                f"the checkpoint {path} cannot be read ({type(error).__name__}); train "
                "that run again under another name="
            ) from error
        leaves = jax.tree_util.tree_leaves_with_path(loaded["params"])
        return {path_name(place): np.asarray(leaf) for place, leaf in leaves}


def _read(
    path: Path, like: dict[str, Any], mesh: Mesh
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays and the notes of a checkpoint of the same shapes."""
    abstract = _abstract(like, mesh)
    try:
        with _turn:
            stored: Any = ocp.metadata(str(path))
            # Compared first: a read that fails half-way leaves other reads open.
            if _shapes(stored.metadata) != _shapes(abstract):
                raise ValueError("other shapes")
            loaded: Any = ocp.load(str(path), abstract)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise InputError(
            f"the checkpoint {path} cannot be read for this configuration "
            f"({type(error).__name__}); remove its folder to train from the start"
        ) from error
    return loaded, stored.custom_metadata or {}


def path_name(path: Any) -> str:
    """Name of the path of an array in a tree, the same in memory and in a checkpoint.

    Args:
      path: as of ``jax.tree_util``.
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _abstract(tree: Any, mesh: Mesh) -> Any:
    """Return shapes and dtypes of arrays that every device holds whole."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole(mesh)), tree
    )


def _shapes(tree: Any) -> dict[str, Any]:
    """Return the shape and dtype of every array of a state by its path."""
    return {
        path_name(path): (
            tuple(leaf.shape),
            str(leaf.dtype),
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _saving(tree: dict[str, Any]) -> ocp.Context:
    """Return a context that writes one large array at a time and copies none.

    Saving waits for the disk, so the arrays do not change under it.
    """
    context = ocp.Context()
    largest = max(leaf.nbytes for leaf in jax.tree.leaves(tree))
    context.memory.write_concurrent_bytes = largest + 2**26
    context.memory.deepcopy_host_arrays = False
    saving = context.array.saving
    saving.storage_options.chunk_byte_size = CHUNK_BYTES
    # Floats hardly compress; without it a large table saves in half the time.
    saving.use_compression = False
    return context
