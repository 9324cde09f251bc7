"""Everything that decides the numbers of a training, and its first state."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.data.feed import Order
from twotower_jax.model.two_tower import rows_of_tables
from twotower_jax.negatives.frequency import Frequency, init_frequency
from twotower_jax.training.mesh import Layout, MeshShape, make_mesh
from twotower_jax.training.schedule import NEVER, Renewals, Schedule
from twotower_jax.training.sources import mixture_of
from twotower_jax.training.step import init_state
from twotower_jax.training.types import Program, Structure, TrainData, TrainState
from twotower_jax.training.warm_start import WarmStart


class Memory(Protocol):
    """A memory of the samplers beside those of the sources.

    Attributes:
      name: in ``TrainState.samplers``.
      when: steps before which the loop renews it.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def when(self) -> Renewals: ...  # noqa: D102

    def rows(self, structure: Structure) -> dict[str, int]:
        """Rows of each of its arrays that are spread over the devices."""
        ...

    def start(self, structure: Structure) -> Any:
        """Return the memory before the first step."""
        ...

    def renew(self, structure: Structure, data: TrainData, state: TrainState) -> Any:
        """Return the memory from a step of ``when`` on."""
        ...


class Streaming(NamedTuple):
    """The streaming frequency, which the steps renew themselves.

    Attributes:
      hashes: number of hash functions.
      initial_gap: gap of every bucket before the first step, in steps.
    """

    hashes: int
    initial_gap: float
    name: str = "frequency"
    when: Renewals = NEVER

    def rows(self, structure: Structure) -> dict[str, int]:
        """Rows of the arrays by bucket."""
        return dict.fromkeys(("last", "gap"), structure.buckets)

    def start(self, structure: Structure) -> Frequency:
        """Return arrays of no item."""
        return init_frequency(self.hashes, structure.buckets, self.initial_gap)

    def renew(self, structure: Structure, data: TrainData, state: TrainState) -> Any:
        """Return the memory as the steps have left it."""
        return state.samplers[self.name]


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
      memories: Memories of the samplers beside those of the sources.
      mesh: Numbers of devices.
      on_host: Whether the positives lie on the host, and each dispatch is fed its own.
      report: Statistics of the samples, for the run's result.
      warm_start: Parameters that replace random ones at the start.
    """

    program: Program
    data: TrainData
    order: Order
    schedule: Schedule
    weights: np.ndarray
    init_scale: float
    memories: tuple[Memory, ...] = ()
    mesh: MeshShape = MeshShape()
    on_host: bool = False
    report: dict[str, Any] | None = None
    warm_start: WarmStart = WarmStart()

    def start(self) -> TrainState:
        """Return the state before the first step, of the mesh of ``jax.set_mesh``."""
        scale, samplers = jnp.float32(self.init_scale), self.samplers()
        state = init_state(self.program, scale, samplers)
        return state._replace(params=self.warm_start.apply(state.params))

    def samplers(self) -> dict[str, Any]:
        """Return all memories of samplers before the first step."""
        before = TrainState(jnp.int32(0), {}, {}, {})
        mixture = mixture_of(self.program, self.data, before)
        memories: dict[str, Any] = {}
        for source in mixture.sources:
            memories |= source.init()
        structure = self.program.structure
        return memories | {one.name: one.start(structure) for one in self.memories}

    def renew(self, state: TrainState, memories: Iterable[Memory]) -> TrainState:
        """Return a state whose memories are those of its parameters and step."""
        structure, data = self.program.structure, self.data
        renewed = {one.name: one.renew(structure, data, state) for one in memories}
        return state._replace(samplers=state.samplers | renewed)

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
        for memory in self.memories:
            rows |= memory.rows(self.program.structure)
        return rows
