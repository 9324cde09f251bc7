"""The schedule of a training, and the notes that the loop keeps of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Schedule(NamedTuple):
    """Length of a training and its periods, all in steps.

    Attributes:
      steps: Length of the training.
      steps_per_dispatch: Steps of one call of the compiled program, at most.
      eval_every: Period of validations.
      checkpoint_every: Period of checkpoints, beside those after each validation; 0:
        there are none but after validations, and not after each (`saves.Saves`).
      patience: Number of validations without improvement that ends the training; 0
        never does.
      metric: Name of the validation metric; larger is better.
      min_steps: Number of steps before which the patience does not end the training.
      pause: Step after whose next validation the training pauses; None: it does not.
    """

    steps: int
    steps_per_dispatch: int
    eval_every: int
    checkpoint_every: int
    patience: int
    metric: str
    min_steps: int = 0
    pause: int | None = None

    @property
    def shortest(self) -> int:
        """The number of steps before which the training cannot end.

        All of them, or with patience those of the first validation and of ``patience``
        more, and the first validation from ``min_steps`` on. Shares of the training are
        shares of it: under a limit of steps that early stopping never reaches, a share
        of the limit might lie behind the actual end.

        Examples:
          >>> schedule = Schedule(10_000, 8, eval_every=30, checkpoint_every=30,
          ...     patience=0, metric="recall@20")
          >>> schedule.shortest, schedule._replace(patience=4).shortest
          (10000, 150)
          >>> schedule._replace(patience=4, min_steps=200).shortest
          210
        """
        if not self.patience:
            return self.steps
        first = math.ceil(self.min_steps / self.eval_every)
        return min(self.steps, max(self.patience + 1, first) * self.eval_every)

    def steps_of(self, share: float) -> int:
        """The steps of a share of the training, at least one if the share is above 0.

        Examples:
          >>> schedule = Schedule(75, 8, eval_every=30, checkpoint_every=30,
          ...     patience=0, metric="recall@20")
          >>> schedule.steps_of(0.1), schedule.steps_of(0.001), schedule.steps_of(0)
          (8, 1, 0)
        """
        return max(round(share * self.shortest), int(share > 0))

    def boundary(self, step: int, *stops: int) -> int:
        """The first step after ``step`` at which the loop interrupts its dispatches.

        Examples:
          >>> schedule = Schedule(100, 8, eval_every=30, checkpoint_every=50,
          ...     patience=0, metric="recall@20")
          >>> [schedule.boundary(step) for step in (0, 30, 50, 90)]
          [30, 50, 60, 100]
          >>> schedule.boundary(0, 7)
          7
        """
        every = filter(None, (self.eval_every, self.checkpoint_every))
        ends = ((step // period + 1) * period for period in every)
        return min(self.steps, *ends, *stops)

    def validates(self, step: int) -> bool:
        """Return whether a step is followed by a validation."""
        return step >= self.steps or step % self.eval_every == 0

    def saves(self, step: int) -> bool:
        """Return whether the state is saved after a step without a validation."""
        every = self.checkpoint_every
        return every > 0 and step % every == 0

    def pauses(self, step: int) -> bool:
        """Whether the training pauses after a step, once its state is saved.

        Examples:
          >>> schedule = Schedule(100, 8, eval_every=30, checkpoint_every=30,
          ...     patience=0, metric="recall@20", pause=40)
          >>> [step for step in (0, 30, 60, 90) if schedule.pauses(step)]
          [60, 90]
        """
        return self.pause is not None and step >= self.pause and self.validates(step)


class Renewals(NamedTuple):
    """Steps before which a memory is renewed: first, first + every, and so on.

    Attributes:
      first: The first of them.
      every: Steps between two of them, at least 1.
    """

    first: int
    every: int

    def due(self, step: int) -> bool:
        """Whether the memory is renewed when ``step`` steps are done.

        Examples:
          >>> [step for step in range(30) if Renewals(8, 10).due(step)]
          [8, 18, 28]
        """
        return step >= self.first and (step - self.first) % self.every == 0

    def after(self, step: int) -> int:
        """The next renewal after ``step`` steps.

        Examples:
          >>> [Renewals(8, 10).after(step) for step in (0, 7, 8, 17, 18)]
          [8, 8, 18, 18, 28]
        """
        return self.first + max(0, (step - self.first) // self.every + 1) * self.every

    def number(self, steps: int) -> int:
        """The number of renewals in a training of ``steps`` steps.

        One after the last step would change nothing and does not happen.

        Examples:
          >>> [Renewals(8, 10).number(steps) for steps in (8, 9, 18, 19)]
          [0, 1, 1, 2]
        """
        return max(0, -((self.first - steps) // self.every))


NEVER = Renewals(2**62, 1)


@dataclass
class Notes:
    """Notes of the loop beside the state; saved with every checkpoint.

    Attributes:
      best_step: Step of the best validation; -1 before the first one.
      best_value: Value of the validation metric at that step.
      worse: Number of validations since the best one.
      loss_sum: Sum of the losses since the last validation.
      loss_steps: Number of these losses.
      seconds: Seconds of training, over all processes.
      timed_seconds: Seconds of the steps that count for the rate.
      timed_steps: Number of these steps.
      last_step: Number of steps done.
      done: Whether the training has ended.
      stopped: Why it ended: "patience" or "limit" (its last step); None before.
    """

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
    stopped: str | None = None

    @property
    def evaluated_step(self) -> int:
        """Step of the parameters that are evaluated: the best, or the last one."""
        return self.best_step if self.best_step >= 0 else self.last_step

    @property
    def rate(self) -> float:
        """Steps per second of the steps that count for it; 0 before the first.

        The first dispatch after each validation or checkpoint may compile and does not
        count; neither do validation, mining and checkpoints.

        Examples:
          >>> Notes(timed_seconds=2.0, timed_steps=50).rate, Notes().rate
          (25.0, 0.0)
        """
        return self.timed_steps / self.timed_seconds if self.timed_seconds > 0 else 0.0

    def add_losses(self, losses: Sequence[float]) -> None:
        """Add the losses of steps to their sum."""
        for loss in losses:
            self.loss_sum += loss
        self.loss_steps += len(losses)

    def take_mean_loss(self) -> float:
        """Return the mean of the losses since the last call, and begin a new sum."""
        mean = self.loss_sum / max(self.loss_steps, 1)
        self.loss_sum, self.loss_steps = 0.0, 0
        return mean

    def judge(self, step: int, value: float, patience: int, min_steps: int = 0) -> None:
        """Compare a validation with the best one; end the training by the patience.

        Examples:
          >>> notes = Notes()
          >>> for step, value in [(10, 0.2), (20, 0.3), (30, 0.3), (40, 0.1)]:
          ...     notes.judge(step, value, patience=2)
          >>> notes.best_step, notes.worse, notes.stopped
          (20, 2, 'patience')
        """
        if self.best_step < 0 or value > self.best_value:
            self.best_step, self.best_value, self.worse = step, value, 0
        else:
            self.worse += 1
        if 0 < patience <= self.worse and step >= min_steps:
            self.end("patience")

    def end(self, reason: str) -> None:
        """Note the end of the training; the first reason stays."""
        self.done, self.stopped = True, self.stopped or reason
