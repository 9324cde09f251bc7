"""Everything that decides the numbers of a training, and its first state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.data.feed import Order
from twotower_jax.model.two_tower import rows_of_tables
from twotower_jax.negatives.frequency import init_frequency
from twotower_jax.training.hard_mining import Mining, empty_window, mine
from twotower_jax.training.kth_scores import KthScores, estimate
from twotower_jax.training.mesh import Layout, MeshShape, make_mesh
from twotower_jax.training.schedule import Renewals, Schedule
from twotower_jax.training.sources import mixture_of
from twotower_jax.training.step import init_state
from twotower_jax.training.types import Program, TrainData, TrainState
from twotower_jax.training.warm_start import WarmStart


class Streaming(NamedTuple):
    """The arrays of the streaming frequency.

    Attributes:
      hashes: Number of hash functions.
      buckets: Number of buckets of each.
      initial_gap: Gap of every bucket before the first step, in steps.
    """

    hashes: int
    buckets: int
    initial_gap: float


class Renewal(NamedTuple):
    """One memory of the samplers that the loop renews.

    Attributes:
      name: Name of the memory in ``TrainState.samplers``.
      when: Steps before which it is renewed.
      renew: Function of the state that returns the memory.
    """

    name: str
    when: Renewals
    renew: Callable[[TrainState], np.ndarray]


# --- Everything that decides the numbers of a training, and its first state -----------


class Problem(NamedTuple):
    """Everything that decides the numbers of a training.

    Attributes:
      program: Structure and numbers of the steps.
      data: Training positives.
      order: Order in which the positives are read.
      schedule: Length and periods of the training.
      weights: [num_items] float64 copies of a positive of each item per epoch.
      init_scale: Half-width of the uniform distribution of the tables.
      streaming: Arrays of the streaming frequency, or None where log q+ is counted.
      mining: How hard negatives are mined, or None.
      kth_scores: How the k-th best scores of a loss at k are estimated, or None.
      mesh: Numbers of devices.
      on_host: Whether the positives lie on the host, and each dispatch is fed its own.
      report: Statistics of the samples, for the run's result.
      warm_start: Parameters that replace random ones at the start, or None.
    """

    program: Program
    data: TrainData
    order: Order
    schedule: Schedule
    weights: np.ndarray
    init_scale: float
    streaming: Streaming | None = None
    mining: Mining | None = None
    mesh: MeshShape = MeshShape()
    on_host: bool = False
    report: dict[str, Any] | None = None
    warm_start: WarmStart | None = None
    kth_scores: KthScores | None = None

    def start(self) -> TrainState:
        """Return the state before the first step, of the mesh of ``jax.set_mesh``."""
        scale, samplers = jnp.float32(self.init_scale), self.memories()
        state = init_state(self.program, scale, samplers)
        if self.warm_start is None:
            return state
        return state._replace(params=self.warm_start.apply(state.params))

    def memories(self) -> dict[str, Any]:
        """Return the memories of samplers before the first step.

        A step reads and renews the memories that it is given.
        """
        before = TrainState(jnp.int32(0), {}, {}, {})
        mixture = mixture_of(self.program, self.data, before)
        memories: dict[str, Any] = {}
        for source in mixture.sources:
            memories |= source.init()
        if self.streaming is not None:
            memories["frequency"] = init_frequency(*self.streaming)
        if self.mining is not None:
            num_items = self.program.structure.num_items
            memories["mined"] = empty_window(self.mining, num_items)
        if self.kth_scores is not None:
            memories["kth_score"] = self.kth_scores.start()
        return memories

    def renewals(self) -> list[Renewal]:
        """Return the memories that the loop renews."""
        mining, kth_scores = self.mining, self.kth_scores
        structure, data = self.program.structure, self.data
        found: list[Renewal] = []
        if mining is not None:

            def pools(state: TrainState) -> np.ndarray:
                return mine(mining, structure, state.params, data)

            found.append(Renewal("mined", mining.when, pools))
        if kth_scores is not None:

            def scores(state: TrainState) -> np.ndarray:
                step = int(state.step)
                return estimate(kth_scores, structure, state.params, data, step)

            found.append(Renewal("kth_score", kth_scores.when, scores))
        return found

    def layout(self) -> Layout:
        """Return the devices, and where the arrays of a state lie on them."""
        return Layout(make_mesh(self.mesh), self._rows())

    def layout_here(self) -> Layout:
        """Return the layout of this machine: one device where the mesh has too many."""
        fits = self.mesh.devices <= len(jax.devices())
        return self.layout() if fits else self.on_one_device()

    def on_one_device(self) -> Layout:
        """Return the layout of one device."""
        return Layout(make_mesh(MeshShape()), self._rows())

    def _rows(self) -> dict[str, int]:
        rows = rows_of_tables(self.program.structure.model)
        if self.mining is not None:
            rows["mined"] = self.mining.seen.num_rows
        if self.kth_scores is not None:
            rows["kth_score"] = self.kth_scores.positives.num_rows
        if self.streaming is not None:
            rows["last"] = rows["gap"] = self.streaming.buckets
        return rows
