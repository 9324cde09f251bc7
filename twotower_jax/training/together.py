"""The steps of several arms as one program: a vmap over the arms.

A small step leaves an accelerator waiting for its next kernel; the steps of many arms
fill it. Each arm keeps its own loop, in its own thread, and the dispatches of the loops
wait here for each other. Sums are taken in another order than in a separate run, so
that an arm equals it to float32 rounding only.

The program has a fixed number of lanes. The lane of an arm that has ended is free for
the next arm, which begins when the others come from a boundary of their schedules, so
that all validate together from then on.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.training.step import run_steps
from twotower_jax.training.types import Program, TrainData, TrainState

# The tree of the data, and the axis of each of its leaves (None: shared by the arms).
Layout = tuple[Any, tuple[int | None, ...]]


class Lane(NamedTuple):
    """The state of one arm among the stacked states of all.

    Their arrays may be donated to the next program, which begins when every arm in
    training has called for it or has taken its own state.
    """

    states: TrainState
    place: int

    def take(self) -> TrainState:
        """Return the arm's own state."""
        return _lane_of(self.states, self.place)


@dataclass
class _Call:
    """A dispatch for which an arm waits: arguments of ``run_steps`` and the result."""

    program: Program
    data: TrainData
    state: TrainState | Lane
    rows: jax.Array
    number: int
    result: tuple[Lane, jax.Array] | None = None  # the lane and the losses [K]
    error: BaseException | None = None


class Together:
    """The meeting of arms of one program and equal shapes at each dispatch."""

    def __init__(self, size: int):
        # Arms are numbered as they begin; the first ones begin together.
        self._size = size
        self._lanes = {arm: arm for arm in range(size)}  # lane of each arm in training
        self._calls: dict[int, _Call] = {}  # by arm
        self._turn = threading.Condition()
        self._sources: list[tuple[Program, TrainData]] = []
        # Stacked numbers; tree and axes of the data; its leaves.
        self._arguments: tuple[Program, Layout, list[jax.Array]] | None = None

    def steps(self, arm: int) -> "ArmSteps":
        """Return the function that one arm's loop calls in place of ``run_steps``."""
        return ArmSteps(self, arm)

    def call(self, arm: int, call: _Call) -> tuple[Lane, jax.Array]:
        """Wait for the dispatches of the other arms, run them, return the result."""
        with self._turn:
            self._calls[arm] = call
            while not (call.result or call.error):
                # Only an arm in training runs them, for its thread has their mesh.
                if self._lanes.keys() <= self._calls.keys():
                    self._run_due()
                else:
                    self._turn.wait()
        if call.result is None:
            raise call.error or RuntimeError("the dispatch has no result")
        return call.result

    def leave(self, arm: int) -> None:
        """Go on without an arm; its lane is free."""
        with self._turn:
            self._lanes.pop(arm, None)
            self._turn.notify_all()

    def _run_due(self) -> None:
        """Run the dispatches, for every arm in training has called for one.

        New arms take free lanes at a boundary: arms that come from one wait for those
        that are not there yet, as after a resume. So all validate together, and hardly
        a dispatch is shorter than others.
        """
        due = [arm for arm in self._lanes if isinstance(self._calls[arm].state, Lane)]
        if not due:
            free = sorted(set(range(self._size)) - set(self._lanes.values()))
            waiting = sorted(self._calls.keys() - self._lanes.keys())
            self._lanes |= zip(waiting, free, strict=False)
            due = list(self._lanes)
        calls = {self._lanes[arm]: self._calls.pop(arm) for arm in due}
        numbers = {call.number for call in calls.values()}
        try:
            for number in numbers:
                part = {p: c for p, c in calls.items() if c.number == number}
                self._run(part, owns=len(numbers) == 1)
        except BaseException as error:
            for call in calls.values():
                call.error = error
        self._turn.notify_all()

    def _run(self, calls: dict[int, _Call], owns: bool) -> None:
        """Run one program; lanes of arms that are not in it repeat another arm's."""
        first = next(iter(calls.values()))
        lanes = [calls.get(place, first) for place in range(self._size)]
        sources = [(call.program, call.data) for call in lanes]
        objects, before = (
            [id(part) for source in pairs for part in source]
            for pairs in (sources, self._sources)
        )
        if self._arguments is None or objects != before:
            shared = None if self._arguments is None else self._arguments[1][1]
            self._arguments = _stack_arguments(sources, shared)
            self._sources = sources
        state, losses = run_arms(
            *self._arguments,
            _stacked_states(calls, lanes, owns),
            np.stack([np.asarray(call.rows) for call in lanes]),
            np.int32(first.number),
        )
        for place, call in calls.items():
            call.result = Lane(state, place), losses[place]


class ArmSteps:
    """``run_steps`` of one arm, run together with the other arms."""

    def __init__(self, together: Together, arm: int):
        self._together, self._arm = together, arm

    def __call__(
        self,
        program: Program,
        data: TrainData,
        state: TrainState | Lane,
        rows: jax.Array,
        number: np.int32,
    ) -> tuple[Lane, jax.Array]:
        """Run steps on the positives ``rows`` [K, B]; return lane and losses [K]."""
        call = _Call(program, data, state, rows, int(number))
        return self._together.call(self._arm, call)

    def leave(self) -> None:
        """End the arm's dispatches; a second call does nothing."""
        self._together.leave(self._arm)


@partial(jax.jit, static_argnames="layout", donate_argnames="state")
def run_arms(
    program: Program,
    layout: Layout,
    leaves: list[jax.Array],
    state: TrainState,
    rows: jax.Array,
    number: jax.Array,
) -> tuple[TrainState, tuple[jax.Array, ...]]:
    """Steps of each arm in one dispatch: stacked states, and losses [K] of each arm."""
    tree, axes = layout

    def run_arm(
        program: Program, leaves: list[jax.Array], state: TrainState, rows: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        data = jax.tree.unflatten(tree, leaves)
        return run_steps(program, data, state, rows, number)

    run_each = jax.vmap(run_arm, in_axes=(0, list(axes), 0, 0))
    state, losses = run_each(program, leaves, state, rows)
    return state, tuple(losses)


def _stack_arguments(
    sources: Sequence[tuple[Program, TrainData]],
    axes_before: tuple[int | None, ...] | None,
) -> tuple[Program, Layout, list[jax.Array]]:
    """Numbers and data of the lanes; equal data are there once, without axis."""
    flat, trees = zip(*(jax.tree.flatten(data) for _, data in sources), strict=True)
    axes, leaves = [], []
    for place, group in enumerate(zip(*flat, strict=True)):
        same = axes_before is None or axes_before[place] is None
        same = same and all(np.array_equal(group[0], other) for other in group[1:])
        axes.append(None if same else 0)
        leaves.append(group[0] if same else jnp.stack(group))
    # A condition is computed both ways under vmap: one column per draw instead.
    programs = [replace(program, merged_size=0) for program, _ in sources]
    return _stack(programs), (trees[0], tuple(axes)), leaves


def _stacked_states(
    calls: dict[int, _Call], lanes: list[_Call], owns: bool
) -> TrainState:
    first, *others = (
        call.state.states if isinstance(call.state, Lane) else None
        for call in calls.values()
    )
    if first is not None and owns and all(other is first for other in others):
        return first
    states = [call.state for call in lanes]
    return _stack([s.take() if isinstance(s, Lane) else s for s in states])


@jax.jit
def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@jax.jit
def _lane_of(states: TrainState, place: int) -> TrainState:
    return jax.tree.map(lambda leaf: leaf[place], states)
