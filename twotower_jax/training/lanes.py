"""The arms that train as one program: their stacked states, numbers and data."""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.training.step import run_steps
from twotower_jax.training.types import Program, TrainData, TrainState

Source = tuple[Program, TrainData]
# The tree of the data, and the axis of each of its leaves (None: shared by the arms).
Layout = tuple[Any, tuple[int | None, ...]]


class Lane(NamedTuple):
    """The state of one arm among the stacked states of all.

    Attributes:
      stacked: States of all lanes.
      place: Lane of the arm.
    """

    stacked: "Stacked"
    place: int

    def take(self) -> TrainState:
        """Return the arm's own state."""
        return self.stacked.parts()[self.place]


class Stacked:
    """The states of all lanes as one state with a leading axis.

    Attributes:
      state: The state; its arrays may be donated to the next program.
    """

    def __init__(self, state: TrainState, size: int):
        self.state, self._size = state, size
        self._parts: tuple[TrainState, ...] | None = None
        self._lock = threading.Lock()

    def parts(self) -> tuple[TrainState, ...]:
        """Return the state of each lane."""
        with self._lock:
            parts = self._parts or unstack(self.state, self._size)
            self._parts = parts
            return parts


class Arguments(NamedTuple):
    """Numbers and data of all lanes, as ``run_arms`` takes them.

    Attributes:
      program: Program with stacked numbers.
      layout: Tree of the data, and the axis of each of its leaves.
      leaves: Leaves of the data: stacked, or once where all arms have the same.
    """

    program: Program
    layout: Layout
    leaves: list[jax.Array]


def stack_arguments(sources: Sequence[Source], before: Arguments | None) -> Arguments:
    """Numbers and data of the lanes; equal data are there once, without axis."""
    flat, trees = zip(*(jax.tree.flatten(data) for _, data in sources), strict=True)
    axes, leaves = [], []
    for place, group in enumerate(zip(*flat, strict=True)):
        same = before is None or before.layout[1][place] is None
        same = same and all(np.array_equal(group[0], other) for other in group[1:])
        axes.append(None if same else 0)
        leaves.append(group[0] if same else jnp.stack(group))
    # A condition is computed both ways under vmap: one column per draw instead.
    structure = sources[0][0].structure._replace(merged_size=0)
    hyper = stack([program.hyper for program, _ in sources])
    return Arguments(Program(structure, hyper), (trees[0], tuple(axes)), leaves)


@partial(jax.jit, static_argnames="layout", donate_argnames="state")
def run_arms(
    program: Program,
    layout: Layout,
    leaves: list[jax.Array],
    state: TrainState,
    rows: jax.Array,
    number: jax.Array,
) -> tuple[TrainState, tuple[jax.Array, ...]]:
    """Several training steps of each arm, in one dispatch.

    Returns:
      The states, stacked, and the losses [K] of each arm.
    """
    tree, axes = layout

    def run_arm(
        program: Program, leaves: list[jax.Array], state: TrainState, rows: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        data = jax.tree.unflatten(tree, leaves)
        return run_steps(program, data, state, rows, number)

    run_each = jax.vmap(run_arm, in_axes=(0, list(axes), 0, 0))
    state, losses = run_each(program, leaves, state, rows)
    return state, tuple(losses)


@jax.jit
def stack(trees: list[Any]) -> Any:
    """Trees of equal structure as one tree, with the tree as the first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnames="size")
def unstack(state: TrainState, size: int) -> tuple[TrainState, ...]:
    """The states of a stacked state, one per lane."""
    return tuple(jax.tree.map(lambda x, n=n: x[n], state) for n in range(size))
