"""The Python loop of training: dispatches, validation, early stopping, checkpoints."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from twotower_jax.arrays.processes import alone, put
from twotower_jax.arrays.shards import DATA, TABLE
from twotower_jax.errors import NonFiniteLossError
from twotower_jax.model.towers import TwoTower
from twotower_jax.progress import ProgressLine
from twotower_jax.signals import Stopped, StopRequest
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.mesh import DeviceFeed, HostFeed, whole
from twotower_jax.training.problem import Problem
from twotower_jax.training.schedule import Notes
from twotower_jax.training.sources import diagnostics
from twotower_jax.training.step import run_steps
from twotower_jax.training.together import ArmSteps, Lane
from twotower_jax.training.types import TrainState


class AgreedStop:
    """The signal that ends a training, known to all of its processes at one step.

    The answer is read when a dispatch has ended, so that no step waits for it.
    """

    def __init__(self, request: StopRequest, mesh: Mesh):
        self._request, self._mesh = request, mesh
        self._alone, self._heard = alone(), 0

    @property
    def number(self) -> int:
        """Number of the signal, or 0."""
        return (self._alone and self._request.number) or self._heard

    def ask(self) -> jax.Array | int:
        """Return the largest number of all processes, on its way; 0 of one alone."""
        if self._alone:
            return 0
        spread = NamedSharding(self._mesh, PartitionSpec((DATA, TABLE)))
        own = np.full(self._mesh.size, self._request.number or 0, np.int32)
        return _largest(put(own, spread), whole(self._mesh))

    def hear(self, answer: jax.Array | int) -> None:
        """Note an answer of `ask`."""
        self._heard = self._heard or int(answer)


@partial(jax.jit, static_argnums=1)
def _largest(numbers: jax.Array, where: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(jnp.max(numbers), where)


# A checkpoint of small tables takes as long as many of their steps.
SECONDS = 10.0
# Larger states are not held beside the tables that train.
MOST_BYTES = 2**26


class Saves:
    """When a training saves its state, and the best state until then."""

    def __init__(self, checkpoints: Checkpoints, always: bool):
        self._checkpoints = checkpoints
        # Clocks of several processes differ, and they save together.
        self._always = always or not alone()
        self._last = time.monotonic()
        self.behind = False  # whether the state after the last validation is not saved
        self._held: dict[int, tuple[TrainState, dict[str, Any]]] = {}  # by step

    def due(self, state: TrainState) -> bool:
        """Whether the state after a validation is saved: it is old or large."""
        if self._always or time.monotonic() - self._last >= SECONDS:
            return True
        return sum(leaf.nbytes for leaf in jax.tree.leaves(state)) > MOST_BYTES

    def hold(self, state: TrainState, notes: dict[str, Any]) -> None:
        """Leave a state unsaved; hold it in memory if it is the best one."""
        self.behind = True
        if (best := notes["best_step"]) == notes["last_step"]:
            # The next dispatch takes the memory of the state.
            self._held = {best: (jax.tree.map(jnp.copy, state), dict(notes))}

    def save(self, state: TrainState, notes: dict[str, Any]) -> None:
        """Save a state, and the best one before it, which may be saved already."""
        best = notes["best_step"]
        if best in self._held and best != notes["last_step"]:
            self._checkpoints.save(*self._held[best], set())
        self._checkpoints.save(state, notes, {best})
        self._held, self._last, self.behind = {}, time.monotonic(), False


class Hooks(NamedTuple):
    """Functions that the loop calls."""

    progress: Callable[[int], ProgressLine]  # the line of a training from a step on
    log: Callable[[dict[str, Any]], None]  # takes the record of a validation
    # The validation metrics of params; None without a validation set.
    evaluate: Callable[[dict[str, Any]], dict[str, float]] | None = None
    # Takes the step from which the training goes on, and why newer checkpoints are not
    # used.
    resume: Callable[[int, tuple[str, ...]], None] = lambda step, refused: None


def fit(
    problem: Problem,
    checkpoints: Checkpoints,
    hooks: Hooks,
    request: StopRequest | None = None,
    together: ArmSteps | None = None,
) -> tuple[TrainState, Notes]:
    """Train from the newest checkpoint, or the start, to the end of the schedule.

    The caller may note signals of several trainings, and run steps of several arms.
    """
    trainer = Trainer(problem, checkpoints, hooks, together)
    line = hooks.progress(trainer.step)
    try:
        with nullcontext(request) if request else StopRequest() as signals:
            trainer.run(line, AgreedStop(signals, trainer.mesh))
    finally:
        line.close()
        if together is not None:
            together.leave()  # the other arms go on while this one is evaluated
    return trainer.best_state(), trainer.notes


class _Dispatch(NamedTuple):
    step: int  # its last one
    number: int  # of its steps
    losses: jax.Array  # [K] of its steps
    timed: bool  # for the rate: the first after a boundary may compile
    signal: jax.Array | int  # that ends the training, as of `AgreedStop.ask`


class Trainer:
    """The loop of one training, from boundary to boundary of its schedule."""

    def __init__(
        self,
        problem: Problem,
        checkpoints: Checkpoints,
        hooks: Hooks,
        together: ArmSteps | None = None,
    ):
        self.problem, self.schedule = problem, problem.schedule
        self.checkpoints, self.hooks = checkpoints, hooks
        self.saves = Saves(checkpoints, always=self.schedule.checkpoint_every > 0)
        self.run_steps = together or run_steps
        self.layout = problem.layout()
        self.mesh = self.layout.mesh
        self.program = self.layout.put_program(problem.program)
        self.feed = (HostFeed if problem.on_host else DeviceFeed)(
            self.mesh, problem.data
        )
        with jax.set_mesh(self.mesh):
            like = jax.eval_shape(problem.start)
        if saved := checkpoints.newest(like, self.layout):
            self.state, self.notes = saved.state, Notes(**saved.notes)
        else:
            problem.order.begin()
            with jax.set_mesh(self.mesh):  # the state is made where it lies
                self.state, self.notes = self.layout.put(problem.start()), Notes()
        self.step = int(self.state.step)
        if saved:
            # A kill may have come between a save and the removal of older ones.
            checkpoints.keep_only({self.step, self.notes.best_step})
            hooks.resume(self.step, saved.refused)
        self.resumed_at, self.seconds_before = time.perf_counter(), self.notes.seconds
        self.timed_from = self.resumed_at  # the end of the last dispatch

    def run(self, line: ProgressLine, stop: AgreedStop) -> None:
        """Train to the end of the schedule, or to its pause."""
        if self.schedule.steps == 0 and not self.notes.done:
            self.notes.end("limit")
            self._save()
        while not self.notes.done and not self.schedule.pauses(self.step):
            before = self.step
            self._run_to_boundary(line, stop)
            if stop.number and self.step == before:
                raise self._stopped(stop.number)  # it came before any step
            if self.schedule.validates(self.step):
                self._validate(line)
                if self.step >= self.schedule.steps:
                    self.notes.end("limit")
                ends = self.notes.done or self.schedule.pauses(self.step) or stop.number
                if ends or self.saves.due(self.state):
                    self._save()
                else:
                    self._note_time()
                    self.saves.hold(self.state, vars(self.notes))
            elif stop.number or self.schedule.saves(self.step):
                self._save()
            if stop.number and not self.notes.done:
                raise self._stopped(stop.number)

    def _run_to_boundary(self, line: ProgressLine, stop: AgreedStop) -> None:
        """Dispatch steps up to the next boundary, one dispatch always in flight."""
        memories = self.problem.memories
        if due := [memory for memory in memories if memory.when.due(self.step)]:
            self.state = self.layout.put(self.problem.renew(self.state, due))
        renewals = (memory.when.after(self.step) for memory in memories)
        boundary = self.schedule.boundary(self.step, *renewals)
        state: TrainState | Lane = self.state
        pending: list[_Dispatch] = []
        per_dispatch = self.schedule.steps_per_dispatch
        while self.step < boundary and not stop.number:
            number = min(per_dispatch, boundary - self.step)
            data, rows = self.feed(self.problem.order.batches(self.step, per_dispatch))
            with jax.set_mesh(self.mesh):
                state, losses = self.run_steps(
                    self.program, data, state, rows, np.int32(number)
                )
            signal, timed = stop.ask(), bool(pending)
            while pending:
                self._finish(pending.pop(), line, stop)
            self.step += number
            pending.append(_Dispatch(self.step, number, losses, timed, signal))
            if not timed:
                jax.block_until_ready(losses)
                self.timed_from = time.perf_counter()
        while pending:
            self._finish(pending.pop(), line, stop)
        self.state = state.take() if isinstance(state, Lane) else state

    def _finish(
        self, dispatch: _Dispatch, line: ProgressLine, stop: AgreedStop
    ) -> None:
        losses = np.asarray(dispatch.losses)[: dispatch.number]
        if not np.isfinite(losses).all():
            scale = self.problem.init_scale
            given = scale != TwoTower.init_scale
            start = f"towers.init_scale={scale:g} or " if given else ""
            raise NonFiniteLossError(
                f"the loss is not finite within the {dispatch.number} steps before "
                f"step {dispatch.step}; lower {start}optimizer.learning_rate or raise "
                "loss.temperature"
            )
        self.notes.add_losses(losses.tolist())
        stop.hear(dispatch.signal)
        if dispatch.timed:
            now = time.perf_counter()
            self.notes.timed_seconds += now - self.timed_from
            self.notes.timed_steps += dispatch.number
            self.timed_from = now
        line.update(dispatch.step, float(losses[-1]), self.notes.rate)

    def _validate(self, line: ProgressLine) -> None:
        """Log the mean loss and the validation metrics, and note the best."""
        record: dict[str, Any] = {"step": self.step}
        record["loss"] = self.notes.take_mean_loss()
        if self.hooks.evaluate is not None:
            metrics = self.hooks.evaluate(self.state.params)
            record["valid"] = metrics
            line.validated(metrics)
            patience, least = self.schedule.patience, self.schedule.min_steps
            value = metrics[self.schedule.metric]
            self.notes.judge(self.step, value, patience, least)
        if (temperature := learned_temperature(self.state.params)) is not None:
            record["temperature"] = temperature
        record |= diagnostics(self.problem.program, self.problem.data, self.state)
        record["seconds"] = round(self._seconds(), 3)
        self.hooks.log(record)

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.resumed_at

    def _save(self) -> None:
        self._note_time()
        self.saves.save(self.state, vars(self.notes))

    def _stopped(self, number: int) -> Stopped:
        """Return the end by a signal, the state saved where a validation left it."""
        if self.saves.behind:
            self._save()
        return Stopped(number, self.step)

    def _note_time(self) -> None:
        self.notes.seconds, self.notes.last_step = self._seconds(), self.step

    def best_state(self) -> TrainState:
        """Return the state of the best validation, or the last one."""
        if self.notes.best_step in (-1, self.step):
            return self.state
        like = jax.eval_shape(lambda: self.state)
        return self.checkpoints.load(self.notes.best_step, like, self.layout)[0]


def learned_temperature(params: dict[str, Any]) -> float | None:
    """Temperature of params, None where it is not one of them."""
    value = params.get("log_temperature")
    return None if value is None else math.exp(value)
