"""The steps of several arms as one program: a vmap over the arms.

A small step leaves an accelerator waiting for its next kernel; the steps of many arms
fill it. Each arm keeps its own loop, in a thread of its own, and its loop's dispatches
wait here for those of the others. Sums are taken in another order than alone, so an
arm equals its separate run to float32 rounding only.
"""

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.training.step import run_steps
from twotower_jax.training.types import Hyper, Structure, TrainData, TrainState


class Lane(NamedTuple):
    """The state of one arm among the stacked states of all."""

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
    """A dispatch that an arm waits for."""

    structure: Structure
    hyper: Hyper
    data: TrainData
    state: TrainState | Lane
    rows: jax.Array
    number: int
    done: Any = None
    error: BaseException | None = None

    def own_state(self) -> TrainState:
        return self.state.take() if isinstance(self.state, Lane) else self.state


class Together:
    """Where ``size`` arms of one structure and equal shapes meet at each dispatch."""

    def __init__(self, size: int):
        self._size, self._present = size, set(range(size))
        self._calls: dict[int, _Call] = {}
        self._turn = threading.Condition()
        self._kept: tuple | None = None

    def steps(self, place: int) -> "ArmSteps":
        """Return what the loop of one arm calls in place of `step.run_steps`."""
        return ArmSteps(self, place)

    def _call(self, place: int, call: _Call) -> tuple[Lane, jax.Array]:
        with self._turn:
            self._calls[place] = call
            self._run_when_complete()
            self._turn.wait_for(lambda: call.done is not None or call.error)
        if call.error is not None:
            raise call.error
        return call.done

    def _leave(self, place: int) -> None:
        with self._turn:
            self._present.discard(place)
            self._run_when_complete()

    def _run_when_complete(self) -> None:
        """Run the dispatches once each arm that is left has asked for one."""
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
        """Run one program; the lanes of arms that are not in it repeat another's."""
        first = next(iter(calls.values()))
        lanes = [calls.get(place, first) for place in range(self._size)]
        hyper, leaves, axes, tree = self._arguments(lanes)
        state, losses = run_arms(
            # A condition is computed both ways under vmap: one column a draw instead.
            first.structure._replace(merged_size=0),
            (tree, axes),
            hyper,
            leaves,
            self._stack(calls, lanes),
            np.stack([np.asarray(call.rows) for call in lanes]),
            np.int32(first.number),
        )
        stacked = _Stacked(state, self._size)
        for place, call in calls.items():
            call.done = Lane(stacked, place), losses[place]

    def _stack(self, calls: dict[int, _Call], lanes: list[_Call]) -> TrainState:
        """Return the states of the lanes; as they came out of the last program."""
        before = {
            call.state.stacked if isinstance(call.state, Lane) else None
            for call in calls.values()
        }
        (stacked, *others) = before
        if stacked is not None and not others and calls.keys() >= self._present:
            return stacked.state
        return _stack([call.own_state() for call in lanes])

    def _arguments(self, lanes: list[_Call]) -> tuple:
        """Return hyper, leaves of the data, their axes and tree; stacked once.

        What is equal in all arms has no axis, and is there once.
        """
        sources = [(call.hyper, call.data) for call in lanes]
        if self._kept is None or any(
            one is not other
            for pair, kept in zip(sources, self._kept[0], strict=True)
            for one, other in zip(pair, kept, strict=True)
        ):
            flat, trees = zip(
                *(jax.tree.flatten(call.data) for call in lanes), strict=True
            )
            axes, leaves = [], []
            for group in zip(*flat, strict=True):
                same = all(np.array_equal(group[0], other) for other in group[1:])
                axes.append(None if same else 0)
                leaves.append(group[0] if same else jnp.stack(group))
            hyper = _stack([call.hyper for call in lanes])
            self._kept = sources, (hyper, leaves, tuple(axes), trees[0])
        return self._kept[1]


class ArmSteps:
    """`step.run_steps` of one arm, together with others."""

    def __init__(self, together: Together, place: int):
        self._together, self._place = together, place

    def __call__(
        self,
        structure: Structure,
        hyper: Hyper,
        data: TrainData,
        state: TrainState | Lane,
        rows: jax.Array,
        number: np.int32,
    ) -> tuple[Lane, jax.Array]:
        """Return the lane after the first ``number`` batches, and their losses."""
        call = _Call(structure, hyper, data, state, rows, int(number))
        return self._together._call(self._place, call)

    def leave(self) -> None:
        """Say that this arm has no more dispatches; can be said again."""
        self._together._leave(self._place)


@partial(jax.jit, static_argnames=("structure", "layout"), donate_argnames="state")
def run_arms(
    structure: Structure,
    layout: tuple[Any, tuple[int | None, ...]],
    hyper: Hyper,
    leaves: list[jax.Array],
    state: TrainState,
    rows: jax.Array,
    number: jax.Array,
) -> tuple[TrainState, tuple[jax.Array, ...]]:
    """Run the first ``number`` batches of each arm.

    Args:
      structure: of every arm.
      layout: tree of the data, and the axis of each of its leaves (None: shared).
      hyper, state: of the arms, stacked.
      leaves: of the data.
      rows: [arms, K, B].
      number: of batches.

    Returns:
      The states, stacked, and the losses [K] of each arm.
    """
    tree, axes = layout

    def one(hyper, leaves, state, rows):
        data = jax.tree.unflatten(tree, leaves)
        return run_steps(structure, hyper, data, state, rows, number)

    several = jax.vmap(one, in_axes=(0, list(axes), 0, 0))
    state, losses = several(hyper, leaves, state, rows)
    return state, tuple(losses)


@jax.jit
def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnames="size")
def _unstack(state: TrainState, size: int) -> tuple[TrainState, ...]:
    return tuple(jax.tree.map(lambda x, n=n: x[n], state) for n in range(size))
