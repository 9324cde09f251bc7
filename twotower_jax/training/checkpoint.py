"""Checkpoints of a run: Orbax writes each to its own folder, visible when complete.

``checkpoints/<step>`` appears by an atomic rename, so a process killed at any moment
leaves either the whole checkpoint or none. The notes of the loop (best step so far,
seconds used) are stored as the checkpoint's metadata.
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
        """Return the steps of complete checkpoints, ascending."""
        if not self._folder.is_dir():
            return []
        names = (path.name for path in self._folder.iterdir() if path.is_dir())
        return sorted(int(name) for name in names if re.fullmatch(r"\d+", name))

    def save(self, state: TrainState, notes: dict[str, Any], keep: set[int]) -> None:
        """Save a state and its notes; remove the other checkpoints.

        Args:
          state: State after a step.
          notes: Values that JSON can hold.
          keep: Steps of the older checkpoints that are kept.
        """
        step = int(state.step)
        with _turn, _saving(state):
            ocp.save(
                str(self._folder / str(step)),
                state._asdict(),
                custom_metadata=notes,
                overwrite=True,
            )
        self.keep_only({step, *keep})

    def keep_only(self, steps: set[int]) -> None:
        """Remove all other checkpoints and the remains of interrupted saves."""
        for old in self.steps():
            if old not in steps:
                shutil.rmtree(self._folder / str(old))
        for left in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(left, ignore_errors=True)

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
        path = str(self._folder / str(step))
        abstract = _abstract(like._asdict(), mesh)
        try:
            with _turn:
                stored: Any = ocp.metadata(path)
                # Compared first: a read that fails half-way leaves other reads open.
                if _shapes(stored.metadata) != _shapes(abstract):
                    raise ValueError("other shapes")
                loaded = ocp.load(path, abstract)
        except (ValueError, KeyError, OSError, TypeError) as error:
            raise InputError(
                f"the checkpoint {path} cannot be read for this configuration "
                f"({type(error).__name__}); remove its folder to train from the start"
            ) from error
        return TrainState(**loaded), stored.custom_metadata or {}

    def load_params(self, step: int) -> dict[str, np.ndarray]:
        """Parameters of a step, of any towers, on the host.

        Args:
          step: One of ``steps()``.

        Returns:
          {path: array}, such as "tables/query.id".

        Raises:
          InputError: The checkpoint is missing, or cannot be read.
        """
        path = str(self._folder / str(step))
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


def _saving(state: TrainState) -> ocp.Context:
    """Return a context that writes one large array at a time and copies none.

    Saving waits for the disk, so the arrays do not change under it.
    """
    context = ocp.Context()
    largest = max(leaf.nbytes for leaf in jax.tree.leaves(state))
    context.memory.write_concurrent_bytes = largest + 2**26
    context.memory.deepcopy_host_arrays = False
    saving = context.array.saving
    saving.storage_options.chunk_byte_size = CHUNK_BYTES
    # Floats hardly compress; without it a large table saves in half the time.
    saving.use_compression = False
    return context
