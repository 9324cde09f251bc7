"""When a training saves its state, and the best state until then."""

import time
from typing import Any

import jax
import jax.numpy as jnp

from twotower_jax.data.processes import alone
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.types import TrainState

# A checkpoint of small tables takes as long as many of their steps.
SECONDS = 10.0
# Larger states are not held beside the tables that train.
MOST_BYTES = 2**26


class Saves:
    """The checkpoints that a training writes.

    Args:
      checkpoints: Of the run.
      always: Whether each validation is followed by a checkpoint.

    Attributes:
      behind: Whether the state after the last validation is not saved.
    """

    def __init__(self, checkpoints: Checkpoints, always: bool):
        self._checkpoints = checkpoints
        # Clocks of several processes differ, and they save together.
        self._always = always or not alone()
        self._last, self.behind = time.monotonic(), False
        self._held: tuple[TrainState, dict[str, Any]] | None = None

    def due(self, state: TrainState) -> bool:
        """Return whether the state after a validation is saved.

        So it is where the last checkpoint is `SECONDS` old, and where the state has
        more than `MOST_BYTES`.
        """
        if self._always or time.monotonic() - self._last >= SECONDS:
            return True
        return sum(leaf.nbytes for leaf in jax.tree.leaves(state)) > MOST_BYTES

    def hold(self, state: TrainState, notes: dict[str, Any]) -> None:
        """Leave a state unsaved; hold it in memory if it is the best one."""
        self.behind = True
        if notes["best_step"] == notes["last_step"]:
            # The next dispatch takes the memory of the state.
            self._held = jax.tree.map(jnp.copy, state), dict(notes)

    def save(self, state: TrainState, notes: dict[str, Any]) -> None:
        """Save a state, and the best one before it, which may be saved already."""
        best = notes["best_step"]
        if self._held is not None and best != notes["last_step"]:
            held, then = self._held
            if then["best_step"] == best:
                self._checkpoints.save(held, then, set())
        self._checkpoints.save(state, notes, {best})
        self._held, self._last, self.behind = None, time.monotonic(), False
