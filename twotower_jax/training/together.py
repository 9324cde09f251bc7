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
from dataclasses import dataclass

import jax
import numpy as np

from twotower_jax.training.lanes import (
    Arguments,
    Lane,
    Source,
    Stacked,
    run_arms,
    stack,
    stack_arguments,
)
from twotower_jax.training.types import Program, TrainData, TrainState


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


class Together:
    """The meeting of arms of one structure and equal shapes at each dispatch.

    The arms are numbered in the order in which they begin. The first ones are expected:
    they begin together.
    """

    def __init__(self, size: int):
        self._size = size
        self._lanes = {arm: arm for arm in range(size)}  # lane of each arm in training
        self._calls: dict[int, _Call] = {}  # by arm
        self._turn = threading.Condition()
        self._sources: list[Source] = []
        self._arguments: Arguments | None = None

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
        """Run the dispatches, for every arm in training has called for one."""
        calls = {self._lanes[arm]: self._calls.pop(arm) for arm in self._due()}
        numbers = {call.number for call in calls.values()}
        try:
            for number in numbers:
                part = {p: c for p, c in calls.items() if c.number == number}
                self._run(part, owns=len(numbers) == 1)
        except BaseException as error:
            for call in calls.values():
                call.error = error
        self._turn.notify_all()

    def _due(self) -> list[int]:
        """Return the arms that run now; new arms take free lanes at a boundary.

        Arms that come from a boundary wait for those that are not there yet, as after a
        resume. So all validate together, and hardly a dispatch is shorter than others.
        """
        amid = [arm for arm in self._lanes if isinstance(self._calls[arm].state, Lane)]
        if amid:
            return amid
        free = sorted(set(range(self._size)) - set(self._lanes.values()))
        waiting = sorted(self._calls.keys() - self._lanes.keys())
        self._lanes |= zip(waiting, free, strict=False)
        return list(self._lanes)

    def _run(self, calls: dict[int, _Call], owns: bool) -> None:
        """Run one program; lanes of arms that are not in it repeat another arm's."""
        first = next(iter(calls.values()))
        lanes = [calls.get(place, first) for place in range(self._size)]
        program, layout, leaves = self._stacked_arguments(lanes)
        state, losses = run_arms(
            program,
            layout,
            leaves,
            _stacked_states(calls, lanes, owns),
            np.stack([np.asarray(call.rows) for call in lanes]),
            np.int32(first.number),
        )
        stacked = Stacked(state, self._size)
        for place, call in calls.items():
            call.result = Lane(stacked, place), losses[place]

    def _stacked_arguments(self, lanes: list[_Call]) -> Arguments:
        """Return numbers and data of the lanes; stacked anew where they are others."""
        sources = [(call.program, call.data) for call in lanes]
        if self._arguments is None or not _identical(sources, self._sources):
            before, self._sources = self._arguments, sources
            self._arguments = stack_arguments(sources, before)
        return self._arguments


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
        """Several training steps of the arm.

        Args:
          rows: [K, B] int32 positives of K batches.

        Returns:
          The lane after the steps, and the losses [K].
        """
        call = _Call(program, data, state, rows, int(number))
        return self._together.call(self._arm, call)

    def leave(self) -> None:
        """End the arm's dispatches; a second call does nothing."""
        self._together.leave(self._arm)


def _stacked_states(
    calls: dict[int, _Call], lanes: list[_Call], owns: bool
) -> TrainState:
    """Return the states of the lanes; those of the last program where they are."""
    before = {
        call.state.stacked if isinstance(call.state, Lane) else None
        for call in calls.values()
    }
    (stacked, *others) = before
    if stacked is not None and not others and owns:
        return stacked.state
    return stack([call.own_state() for call in lanes])


def _identical(first: Sequence[Source], second: Sequence[Source]) -> bool:
    """Return whether two lists of pairs hold the same objects."""
    pairs = zip(first, second, strict=True)
    return all(x is y for one, other in pairs for x, y in zip(one, other, strict=True))
