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
      checkpoint_every: Period of checkpoints.
      patience: Number of validations without improvement that ends the training; 0
        never does.
      metric: Name of the validation metric; larger is better.
    """

    steps: int
    steps_per_dispatch: int
    eval_every: int
    checkpoint_every: int
    patience: int
    metric: str

    def boundary(self, step: int, *periods: int) -> int:
        """The first step after ``step`` at which the loop interrupts its dispatches.

        Args:
          step: Number of steps done.
          periods: More periods, beside those of validations and checkpoints.

        Returns:
          A step, at most the last one.

        Examples:
          >>> schedule = Schedule(100, 8, eval_every=30, checkpoint_every=50,
          ...     patience=0, metric="recall@20")
          >>> [schedule.boundary(step) for step in (0, 30, 50, 90)]
          [30, 50, 60, 100]
          >>> schedule.boundary(0, 7)
          7
        """
        every = (self.eval_every, self.checkpoint_every, *periods)
        return min(self.steps, *((step // period + 1) * period for period in every))

    def validates(self, step: int) -> bool:
        """Return whether a step is followed by a validation."""
        return step >= self.steps or step % self.eval_every == 0


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

    def judge(self, step: int, value: float, patience: int) -> None:
        """Compare a validation with the best one; end the training by the patience.

        Args:
          step: Step of the validation.
          value: Value of the validation metric; larger is better.
          patience: Number of validations without improvement; 0 never ends.

        Examples:
          >>> notes = Notes()
          >>> for step, value in [(10, 0.2), (20, 0.3), (30, 0.3), (40, 0.1)]:
          ...     notes.judge(step, value, patience=2)
          >>> notes.best_step, notes.worse, notes.done
          (20, 2, True)
        """
        if self.best_step < 0 or value > self.best_value:
            self.best_step, self.best_value, self.worse = step, value, 0
        else:
            self.worse += 1
        self.done |= 0 < patience <= self.worse
