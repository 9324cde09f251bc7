"""The schedule of a training, and the notes that the loop keeps of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Schedule(NamedTuple):
    """Length of a training and its periods, all in steps."""

    steps: int
    steps_per_dispatch: int  # of one call of the compiled program, at most
    eval_every: int
    # Beside the checkpoints after validations; 0: those alone, and not after each one.
    checkpoint_every: int
    patience: int  # validations without improvement that end the training; 0: never
    metric: str  # of validation; larger is better
    min_steps: int = 0  # before which the patience does not end the training
    pause: int | None = None  # after whose next validation the training pauses

    @property
    def shortest(self) -> int:
        """The number of steps before which the training cannot end.

        Shares of the training are shares of it: a share of a limit that early stopping
        never reaches might lie behind the end.
        """
        if not self.patience:
            return self.steps
        first = math.ceil(self.min_steps / self.eval_every)
        return min(self.steps, max(self.patience + 1, first) * self.eval_every)

    def steps_of(self, share: float) -> int:
        """The steps of a share of the training, at least one of a share above 0."""
        return max(round(share * self.shortest), int(share > 0))

    def boundary(self, step: int, *stops: int) -> int:
        """The first step after ``step`` at which the loop interrupts its dispatches."""
        every = filter(None, (self.eval_every, self.checkpoint_every))
        ends = ((step // period + 1) * period for period in every)
        return min(self.steps, *ends, *stops)

    def validates(self, step: int) -> bool:
        """Return whether a step is followed by a validation."""
        return step >= self.steps or step % self.eval_every == 0

    def saves(self, step: int) -> bool:
        """Whether the state is saved after a step without a validation."""
        every = self.checkpoint_every
        return every > 0 and step % every == 0

    def pauses(self, step: int) -> bool:
        """Whether the training pauses after a step, once its state is saved."""
        return self.pause is not None and step >= self.pause and self.validates(step)


class Renewals(NamedTuple):
    """Steps before which a memory is renewed: first, first + every, and so on."""

    first: int
    every: int  # at least 1

    def due(self, step: int) -> bool:
        """Whether the memory is renewed when ``step`` steps are done."""
        return step >= self.first and (step - self.first) % self.every == 0

    def after(self, step: int) -> int:
        """The next renewal after ``step`` steps."""
        return self.first + max(0, (step - self.first) // self.every + 1) * self.every

    def number(self, steps: int) -> int:
        """Renewals in a training of ``steps`` steps; none after the last."""
        return max(0, -((self.first - steps) // self.every))


@dataclass
class Notes:
    """Notes of the loop beside the state; saved with every checkpoint."""

    best_step: int = -1  # of the best validation; -1 before the first one
    best_value: float = -math.inf  # of the validation metric at that step
    worse: int = 0  # validations since the best one
    loss_sum: float = 0.0  # since the last validation
    loss_steps: int = 0
    seconds: float = 0.0  # of training, over all processes
    timed_seconds: float = 0.0  # of the steps that count for the rate
    timed_steps: int = 0
    last_step: int = 0  # number of steps done
    done: bool = False  # whether the training has ended
    stopped: str | None = None  # by "patience" or "limit" (its last step)

    @property
    def evaluated_step(self) -> int:
        """Step of the parameters that are evaluated: the best, or the last one."""
        return self.best_step if self.best_step >= 0 else self.last_step

    @property
    def rate(self) -> float:
        """Steps per second, without dispatches that may compile; 0 before the first."""
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
        """Compare a validation with the best one; end the training by the patience."""
        if self.best_step < 0 or value > self.best_value:
            self.best_step, self.best_value, self.worse = step, value, 0
        else:
            self.worse += 1
        if 0 < patience <= self.worse and step >= min_steps:
            self.end("patience")

    def end(self, reason: str) -> None:
        """Note the end of the training; the first reason stays."""
        self.done, self.stopped = True, self.stopped or reason
