"""Everything that decides the numbers of a training, and its first state."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.data.feed import Order
from twotower_jax.model.two_tower import rows_of_tables
from twotower_jax.training.checkpoint import path_name
from twotower_jax.training.memories import Memory
from twotower_jax.training.mesh import Layout, MeshShape, make_mesh
from twotower_jax.training.schedule import Schedule
from twotower_jax.training.sources import mixture_of
from twotower_jax.training.step import init_state
from twotower_jax.training.types import Program, TrainData, TrainState


class KnownRows(NamedTuple):
    """Rows of a table whose start is known."""

    rows: np.ndarray  # [n] int32, distinct places in the table of this run
    values: np.ndarray  # [n, dim] float32, their start


class WarmStart(NamedTuple):
    """Parameters that replace initial ones; the other rows of tables keep theirs."""

    # By the path of a table, such as "tables/query.id".
    tables: Mapping[str, KnownRows] = MappingProxyType({})
    # All other parameters by their paths; those that are missing keep theirs.
    values: Mapping[str, np.ndarray] = MappingProxyType({})

    def apply(self, params: dict[str, Any]) -> dict[str, Any]:
        """Params with the known rows, the dense parameters and the temperature."""

        def value(path: Any, initial: jax.Array) -> jax.Array:
            name = path_name(path)
            if name in self.tables:
                known = self.tables[name]
                return initial.at[known.rows].set(known.values)
            return jnp.asarray(self.values.get(name, initial))

        return jax.tree_util.tree_map_with_path(value, params)


class Problem(NamedTuple):
    """Everything that decides the numbers of a training."""

    program: Program
    data: TrainData
    order: Order  # in which the positives are read
    schedule: Schedule
    weights: np.ndarray  # [num_items] copies of a positive of each item per epoch
    init_scale: float  # half-width of the uniform distribution of the tables
    memories: tuple[Memory, ...] = ()  # beside those of the sources
    mesh: MeshShape = MeshShape()
    # Whether the positives lie on the host, and each dispatch is fed its own.
    on_host: bool = False
    report: dict[str, Any] | None = None  # statistics of the samples, for the result
    warm_start: WarmStart = WarmStart()

    def start(self) -> TrainState:
        """The state before the first step, of the mesh of ``jax.set_mesh``."""
        before = TrainState(jnp.int32(0), {}, {}, {})
        samplers = mixture_of(self.program, self.data, before).init()
        samplers |= {m.name: m.start(self.program) for m in self.memories}
        state = init_state(self.program, jnp.float32(self.init_scale), samplers)
        return state._replace(params=self.warm_start.apply(state.params))

    def renew(self, state: TrainState, memories: Iterable[Memory]) -> TrainState:
        """Return a state whose memories are those of its parameters and step."""
        renewed = {m.name: m.renew(self.program, self.data, state) for m in memories}
        return state._replace(samplers=state.samplers | renewed)

    def layout(self, mesh: MeshShape | None = None) -> Layout:
        """Return where the arrays of a state lie on its devices, or on other ones."""
        return Layout(make_mesh(mesh or self.mesh), self.layout_rows())

    def layout_rows(self) -> dict[str, int]:
        """Return the rows of each array of a state that is spread over devices."""
        rows = rows_of_tables(self.program.model)
        for streamed in self.program.streamed:
            rows |= dict.fromkeys(("last", "gap"), streamed.buckets)
        return rows | {m.name: m.positives.num_rows for m in self.memories}
