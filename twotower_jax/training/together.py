"""The steps of several arms as one program: a vmap over the arms.

A small step leaves an accelerator waiting for its next kernel; the steps of many arms
fill it. Each arm keeps its own loop, in its own thread, and the dispatches of the loops
wait here for each other. Sums are taken in another order than in a separate run, so
that an arm equals it to float32 rounding only.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.training.step import run_steps
from twotower_jax.training.types import Program, TrainData, TrainState


class Lane(NamedTuple):
    """The state of one arm among the stacked states of all.

    Attributes:
      stacked: States of all arms.
      place: Place of the arm among them.
    """

    stacked: "_Stacked"
    place: int

    def take(self) -> TrainState:
        """Return the arm's own state."""
        return self.stacked.parts()[self.place]


class _Stacked:
    def __init__(self, state: TrainState, size: int):
        self.state, self._size = state, size
        self._parts: tuple[TrainState, ...] | None = None
        self._lock = threading.Lock()

    def parts(self) -> tuple[TrainState, ...]:
        with self._lock:
            parts = self._parts or _unstack(self.state, self._size)
            self._parts = parts
            return parts


@dataclass
class _Call:
    """A dispatch for which an arm waits.

    Attributes:
      program, data, state, rows, number: Arguments of ``run_steps``.
      result: The lane and the losses [K], once the dispatch has run.
      error: The exception, if it failed.
    """

    program: Program
    data: TrainData
    state: TrainState | Lane
    rows: jax.Array
    number: int
    result: tuple[Lane, jax.Array] | None = None
    error: BaseException | None = None

    def own_state(self) -> TrainState:
        return self.state.take() if isinstance(self.state, Lane) else self.state


class _Arguments(NamedTuple):
    """Numbers and data of all arms, as ``run_arms`` takes them.

    Attributes:
      program: Program with stacked numbers.
      layout: Tree of the data, and the axis of each of its leaves.
      leaves: Leaves of the data: stacked, or once where all arms have the same.
    """

    program: Program
    layout: "Layout"
    leaves: list[jax.Array]


class Together:
    """The meeting of arms of one structure and equal shapes at each dispatch.

    Args:
      size: Number of arms.
    """

    def __init__(self, size: int):
        self._size, self._present = size, set(range(size))
        self._calls: dict[int, _Call] = {}
        self._turn = threading.Condition()
        self._sources: list[tuple[Program, TrainData]] = []
        self._arguments: _Arguments | None = None

    def steps(self, place: int) -> "ArmSteps":
        """Return the function that one arm's loop calls in place of ``run_steps``."""
        return ArmSteps(self, place)

    def call(self, place: int, call: _Call) -> tuple[Lane, jax.Array]:
        """Wait for the dispatches of the other arms, run them, return the result.

        Args:
          place: Place of the arm.
          call: Its dispatch.

        Raises:
          BaseException: The exception of the program, in every arm.
        """
        with self._turn:
            self._calls[place] = call
            self._run_when_complete()
            self._turn.wait_for(lambda: call.result or call.error)
        if call.result is None:
            raise call.error or RuntimeError("the dispatch has no result")
        return call.result

    def leave(self, place: int) -> None:
        """Go on without an arm."""
        with self._turn:
            self._present.discard(place)
            self._run_when_complete()

    def _run_when_complete(self) -> None:
        """Run the dispatches once every arm that is left has called for one."""
        if not self._calls or self._present - self._calls.keys():
            return
        calls, self._calls = self._calls, {}
        try:
            for number in {call.number for call in calls.values()}:
                self._run({p: c for p, c in calls.items() if c.number == number})
        except BaseException as error:
            for call in calls.values():
                call.error = error
        self._turn.notify_all()

    def _run(self, calls: dict[int, _Call]) -> None:
        """Run one program; lanes of arms that are not in it repeat another arm's."""
        first = next(iter(calls.values()))
        lanes = [calls.get(place, first) for place in range(self._size)]
        program, layout, leaves = self._stacked_arguments(lanes)
        state, losses = run_arms(
            program,
            layout,
            leaves,
            self._stack(calls, lanes),
            np.stack([np.asarray(call.rows) for call in lanes]),
            np.int32(first.number),
        )
        stacked = _Stacked(state, self._size)
        for place, call in calls.items():
            call.result = Lane(stacked, place), losses[place]

    def _stack(self, calls: dict[int, _Call], lanes: list[_Call]) -> TrainState:
        """Return the states of the lanes; those of the last program where they are."""
        before = {
            call.state.stacked if isinstance(call.state, Lane) else None
            for call in calls.values()
        }
        (stacked, *others) = before
        if stacked is not None and not others and calls.keys() >= self._present:
            return stacked.state
        return _stack([call.own_state() for call in lanes])

    def _stacked_arguments(self, lanes: list[_Call]) -> _Arguments:
        """Return numbers and data of the lanes; stacked anew where they are others."""
        sources = [(call.program, call.data) for call in lanes]
        if self._arguments is None or not _identical(sources, self._sources):
            self._sources, self._arguments = sources, _stack_arguments(lanes)
        return self._arguments


def _identical(first: Sequence[tuple], second: Sequence[tuple]) -> bool:
    """Return whether two lists of pairs hold the same objects."""
    pairs = zip(first, second, strict=True)
    return all(x is y for one, other in pairs for x, y in zip(one, other, strict=True))


def _stack_arguments(lanes: list[_Call]) -> _Arguments:
    """Return numbers and data of the lanes; equal data are there once, without axis."""
    flat, trees = zip(*(jax.tree.flatten(call.data) for call in lanes), strict=True)
    axes, leaves = [], []
    for group in zip(*flat, strict=True):
        same = all(np.array_equal(group[0], other) for other in group[1:])
        axes.append(None if same else 0)
        leaves.append(group[0] if same else jnp.stack(group))
    # A condition is computed both ways under vmap: one column per draw instead.
    structure = lanes[0].program.structure._replace(merged_size=0)
    hyper = _stack([call.program.hyper for call in lanes])
    return _Arguments(Program(structure, hyper), (trees[0], tuple(axes)), leaves)


class ArmSteps:
    """``run_steps`` of one arm, run together with the other arms.

    Args:
      together: The meeting of the arms.
      place: Place of the arm.
    """

    def __init__(self, together: Together, place: int):
        self._together, self._place = together, place

    def __call__(
        self,
        program: Program,
        data: TrainData,
        state: TrainState | Lane,
        rows: jax.Array,
        number: np.int32,
    ) -> tuple[Lane, jax.Array]:
        """Several training steps of the arm.

        Args:
          program: The arm's program.
          data: Training data.
          state: State, or lane, before the first step.
          rows: [K, B] int32 positives of K batches.
          number: Number of the batches that are run, at most K.

        Returns:
          The lane after the steps, and the losses [K].
        """
        call = _Call(program, data, state, rows, int(number))
        return self._together.call(self._place, call)

    def leave(self) -> None:
        """End the arm's dispatches; a second call does nothing."""
        self._together.leave(self._place)


# The tree of the data, and the axis of each of its leaves (None: shared by the arms).
Layout = tuple[Any, tuple[int | None, ...]]


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

    Args:
      program: Program of every arm; its numbers are stacked.
      layout: Tree of the data, and the axis of each of its leaves.
      leaves: Leaves of the data.
      state: States of the arms, stacked; its arrays are donated.
      rows: [arms, K, B] int32 positives.
      number: [] int32, how many batches of each arm are run, at most K.

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
def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnames="size")
def _unstack(state: TrainState, size: int) -> tuple[TrainState, ...]:
    return tuple(jax.tree.map(lambda x, n=n: x[n], state) for n in range(size))
