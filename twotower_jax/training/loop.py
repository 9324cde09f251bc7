"""The python loop of training: dispatches, validation, early stopping, checkpoints."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from twotower_jax.data.feed import Order
from twotower_jax.errors import NonFiniteLossError
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.hard_mining import Mining, mine
from twotower_jax.training.mesh import everywhere, make_mesh, spread_rows
from twotower_jax.training.progress import Line
from twotower_jax.training.sampler_state import diagnostics, init_samplers
from twotower_jax.training.signals import Stopped, StopRequest
from twotower_jax.training.step import init_state, run_steps
from twotower_jax.training.together import ArmSteps, Lane
from twotower_jax.training.types import Hyper, Structure, TrainData, TrainState


class Problem(NamedTuple):
    """Everything that decides the numbers of a training.

    Attributes:
      streaming: hashes, buckets and first gap of the streaming frequency, or None.
      mining: how hard negatives are mined, or None.
      report: what the choice of samples says of itself, for the run's result.
    """

    structure: Structure
    hyper: Hyper
    data: TrainData
    order: Order
    init_scale: float
    streaming: tuple[int, int, float] | None = None
    mining: Mining | None = None
    devices: int = 1
    report: dict[str, Any] | None = None

    def start(self) -> TrainState:
        """Return the state before the first step."""
        samplers = init_samplers(self.structure, self.streaming, self.mining)
        scale = jnp.float32(self.init_scale)
        return init_state(self.structure, self.hyper, scale, samplers)

    def mesh(self) -> Mesh:
        """Return the devices that the rows of a batch are spread over."""
        return make_mesh(self.devices)


class Schedule(NamedTuple):
    """How long, and when to look and save; in steps.

    Attributes:
      patience: validations without improvement before training stops; 0 never stops.
      metric: the validation metric, larger is better.
    """

    steps: int
    steps_per_dispatch: int
    eval_every: int
    checkpoint_every: int
    patience: int
    metric: str


@dataclass
class Notes:
    """What the loop knows beside the state; saved with every checkpoint."""

    best_step: int = -1
    best_value: float = -math.inf
    worse: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0
    timed_seconds: float = 0.0
    timed_steps: int = 0
    last_step: int = 0
    done: bool = False


Evaluate = Callable[[dict], dict[str, float]]
Log = Callable[[dict[str, Any]], None]


def fit(
    problem: Problem,
    schedule: Schedule,
    checkpoints: Checkpoints,
    progress: Callable[[int], Line],
    log: Log,
    evaluate: Evaluate | None,
    request: StopRequest | None = None,
    together: ArmSteps | None = None,
) -> tuple[TrainState, Notes]:
    """Train from the newest checkpoint, or the start, to the end of the schedule.

    Args:
      problem: what is trained.
      schedule: how long.
      checkpoints: where the state is saved.
      progress: makes the progress line, given the first step.
      log: called with one record each validation.
      evaluate: validation metrics of params; None where there is no validation set.
      request: of a caller that notes signals for several trainings; else they are
        noted here.
      together: runs the steps with those of other arms; else they are run alone.

    Returns:
      The state of the best validation (the last state where there is none), and the
      notes of the whole training.

    Raises:
      NonFiniteLossError: naming the steps, when a loss is not finite.
      Stopped: after saving, on SIGTERM or Ctrl-C.
    """
    trainer = _Trainer(problem, schedule, checkpoints, log, evaluate, together)
    line = progress(trainer.step)
    try:
        with nullcontext(request) if request else StopRequest() as asked:
            trainer.run(line, asked)
    finally:
        line.close()
    return trainer.best_state(), trainer.notes


class _Trainer:
    def __init__(
        self,
        problem: Problem,
        schedule: Schedule,
        checkpoints: Checkpoints,
        log: Log,
        evaluate: Evaluate | None,
        together: ArmSteps | None = None,
    ):
        self.problem, self.schedule, self.checkpoints = problem, schedule, checkpoints
        self.log, self.evaluate = log, evaluate
        self.run_steps = together or run_steps
        self.notes, self.mesh = Notes(), problem.mesh()
        self.arguments = (
            problem.structure,
            everywhere(self.mesh, problem.hyper),
            everywhere(self.mesh, problem.data),
        )
        saved = checkpoints.steps()
        if saved:
            like = jax.eval_shape(problem.start)
            self.state, notes = checkpoints.load(saved[-1], like, self.mesh)
            self.notes = Notes(**notes)
            # A kill may have come between a save and the removal of older ones.
            checkpoints.keep_only({saved[-1], self.notes.best_step})
        else:
            self.state = everywhere(self.mesh, problem.start())
        self.step = int(self.state.step)
        self.pending: tuple[int, jax.Array] | None = None
        self.resumed_at = time.perf_counter()
        self.seconds_before = self.notes.seconds

    def run(self, line: Line, request: StopRequest) -> None:
        """Run to the end, from boundary to boundary (validation, checkpoint, end)."""
        if self.schedule.steps == 0 and not self.notes.done:
            self.notes.done = True
            self._save()
        while not self.notes.done:
            before = self.step
            self._to_boundary(line, request)
            if request.number is not None and self.step == before:
                # Told to stop before any step: what was done is saved already.
                raise Stopped(request.number, self.step)
            at_end = self.step >= self.schedule.steps
            if at_end or self.step % self.schedule.eval_every == 0:
                self._validate(line)
                self.notes.done |= at_end
                self._save()
            elif request.number is not None or self._checkpoint_due():
                self._save()
            if request.number is not None and not self.notes.done:
                raise Stopped(request.number, self.step)

    def _checkpoint_due(self) -> bool:
        return self.step % self.schedule.checkpoint_every == 0

    def _to_boundary(self, line: Line, request: StopRequest) -> None:
        """Dispatch steps up to the next boundary, one dispatch always in flight."""
        boundary, periods = self.schedule.steps, list(self.schedule[2:4])
        mining = self.problem.mining
        if mining is not None:
            periods.append(mining.every)
            if self.step % mining.every == 0:
                self._mine(mining)
        for every in periods:
            boundary = min(boundary, (self.step // every + 1) * every)
        started, timed_from = time.perf_counter(), None
        state: TrainState | Lane = self.state
        while self.step < boundary and request.number is None:
            rows = self.problem.order.batches(
                self.step, self.schedule.steps_per_dispatch
            )
            number = min(self.schedule.steps_per_dispatch, boundary - self.step)
            state, losses = self.run_steps(
                *self.arguments,
                state,
                spread_rows(self.mesh, rows),
                np.int32(number),
            )
            self._finish_pending(line)
            self.pending = (number, losses)
            self.step += number
            if timed_from is None:
                # The first dispatch may compile: it is left out of the rate.
                jax.block_until_ready(losses)
                timed_from, started = self.step, time.perf_counter()
        self._finish_pending(line)
        self.state = state.take() if isinstance(state, Lane) else state
        if timed_from is not None:
            self.notes.timed_seconds += time.perf_counter() - started
            self.notes.timed_steps += self.step - timed_from

    def _mine(self, mining: Mining) -> None:
        """Renew the mined pools; a function of the params at this step alone."""
        mined = mine(
            mining, self.problem.structure, self.state.params, self.problem.data
        )
        samplers = self.state.samplers | {"mined": everywhere(self.mesh, mined)}
        self.state = self.state._replace(samplers=samplers)

    def _finish_pending(self, line: Line) -> None:
        """Wait for the dispatch in flight, check its losses and show the last."""
        if self.pending is None:
            return
        number, losses = self.pending
        self.pending = None
        values = np.asarray(losses)[:number]
        if not np.isfinite(values).all():
            raise NonFiniteLossError(
                f"the loss is not finite within the {number} steps before step "
                f"{self.step}; lower optimizer.learning_rate or raise "
                "loss.temperature"
            )
        for value in values.tolist():
            self.notes.loss_sum += value
        self.notes.loss_steps += number
        line.update(self.step, float(values[-1]))

    def _validate(self, line: Line) -> None:
        """Log the mean loss and the validation metrics, and note the best."""
        notes = self.notes
        record: dict[str, Any] = {"step": self.step}
        record["loss"] = notes.loss_sum / max(notes.loss_steps, 1)
        notes.loss_sum, notes.loss_steps = 0.0, 0
        if self.evaluate is not None:
            metrics = self.evaluate(self.state.params)
            record["valid"] = metrics
            line.validated(metrics)
            self._judge(metrics[self.schedule.metric])
        record |= diagnostics(self.problem.structure, self.problem.data, self.state)
        record["seconds"] = round(self._seconds(), 3)
        self.log(record)

    def _judge(self, value: float) -> None:
        if self.notes.best_step < 0 or value > self.notes.best_value:
            self.notes.best_step, self.notes.best_value = self.step, value
            self.notes.worse = 0
        else:
            self.notes.worse += 1
        patience = self.schedule.patience
        self.notes.done |= 0 < patience <= self.notes.worse

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.resumed_at

    def _save(self) -> None:
        self.notes.seconds, self.notes.last_step = self._seconds(), self.step
        self.checkpoints.save(self.state, vars(self.notes), {self.notes.best_step})

    def best_state(self) -> TrainState:
        """Return the state of the best validation, or the last one."""
        if self.notes.best_step in (-1, self.step):
            return self.state
        like = jax.eval_shape(lambda: self.state)
        return self.checkpoints.load(self.notes.best_step, like, self.mesh)[0]
