"""Tuning of an advice: points of arms are tried on validation while time lasts."""

import math
import time
from collections.abc import Callable, Sequence
from statistics import median

from twotower_jax.advice.progress import Choice, is_level
from twotower_jax.advice.runs import Runs, trained_length
from twotower_jax.advice.space import CONTROL, nearby
from twotower_jax.advice.speed import Speed
from twotower_jax.study.selection import choose
from twotower_jax.sweeps.arm_points import (
    ArmGrid,
    Validation,
    point_words,
    race,
    tuning_run,
    valid_metric,
)
from twotower_jax.sweeps.options import Options
from twotower_jax.sweeps.runner import cores

TUNE_SEED, CONFIRM_SEEDS = 100, (101, 102, 103)
# Rungs in epochs, and the shares of a training that they do not exceed: on a large log
# few epochs are all that the minutes allow.
RUNGS, SHARES, ETA = (2, 6), (0.25, 0.5), 3
# Rounds of points near the best one.
ROUNDS = 3


class Tuner:
    """Tries points of arms on validation."""

    def __init__(
        self,
        runs: Runs,
        metric: str,
        speed: Speed,
        print_line: Callable[[str], None],
    ):
        """Begin."""
        self._runs, self._metric, self._print = runs, metric, print_line
        self.speed = speed

    def choose(
        self, title: str, grids: Sequence[ArmGrid], seconds: float, whole: bool = False
    ) -> list[Choice]:
        """Tune arms on validation."""
        if not grids or seconds <= 0:
            return []
        size = grids[0].configs[0].training.batch_size
        epoch = math.ceil(len(self._runs.data.split.train) / size)
        steps = grids[0].configs[0].training.steps or math.inf
        marks = [] if whole else rung_steps(epoch, steps)
        options = Options(rungs=tuple(marks), eta=ETA, minutes=seconds / 60)
        self._print(f"{title}: {_size(grids)}, {seconds / 60:.1f} minutes")
        how = Validation(
            self._metric,
            (TUNE_SEED,),
            self._runs.launch,
            self._print,
            "advise.minutes",
            together=cores(),
        )
        chosen = []
        for grid, trials in zip(grids, race(grids, options, how), strict=True):
            index = choose(trials, 1)
            if index is not None:
                chosen.append(Choice(grid, trials, index))
        for choice in sorted(chosen, key=lambda choice: -choice.value):
            self._print_choice(choice)
        return chosen

    def _print_choice(self, choice: Choice) -> None:
        self._print(
            f"  {choice.label}: {self._metric} {choice.value:.4f} on validation  "
            f"{' '.join(point_words(choice.point))}"
        )

    def refine(
        self, model: Choice, given: Sequence[str], seconds: float, most: float
    ) -> Choice:
        """Try points near the best model, each of which differs from it in one key."""
        end = time.monotonic() + seconds
        for _ in range(ROUNDS):
            left = end - time.monotonic()
            if left < self.full_seconds(model):
                break
            config = model.grid.configs[model.place]
            points = nearby(self._runs.data, config, model.point, given)
            grid = self._runs.points(CONTROL, [dict(model.point), *points])
            # The samples and the test could not be afforded with slower points.
            grid = self._not_slower(grid, most)
            if len(grid.points) < 2:
                break
            better = self.choose("points near the best model", [grid], left, whole=True)
            if not better or better[0].value <= model.value:
                break
            (model,) = better
        return model

    def _not_slower(self, grid: ArmGrid, most: float) -> ArmGrid:
        """The first point of a grid, and the others within a time per run."""
        steps = self._runs.config().training.steps
        kept = [
            index
            for index, config in enumerate(grid.configs)
            if not index or not steps or self.speed.seconds(config, steps) <= most
        ]
        return grid._replace(
            points=[grid.points[index] for index in kept],
            configs=[grid.configs[index] for index in kept],
        )

    def confirm(
        self, choices: Sequence[Choice], best: float, seconds: float
    ) -> list[Choice]:
        """Train the best arms with fresh seeds: the value that chose them is high."""
        top = max((choice.value for choice in choices), default=0.0)
        near = [choice for choice in choices if is_level(choice.value, top)]
        cost = sum(len(CONFIRM_SEEDS) * self.full_seconds(choice) for choice in near)
        if cost > seconds or best > top:
            return list(choices)
        self._print(f"fresh seeds on validation: {', '.join(o.label for o in near)}")
        return [
            self._confirmed(choice) if choice in near else choice for choice in choices
        ]

    def _confirmed(self, choice: Choice) -> Choice:
        """A choice with its values at fresh seeds."""
        runs = [tuning_run(choice.grid, choice.place, seed) for seed in CONFIRM_SEEDS]
        done = self._runs.launch(runs)
        values = [
            valid_metric(run.config, self._metric)
            for run, fine in zip(runs, done, strict=True)
            if fine
        ]
        kept = tuple(value for value in values if value is not None)
        choice = choice._replace(fresh=kept)
        self._print_choice(choice)
        return choice

    def full_seconds(self, choice: Choice) -> float:
        """Seconds that a run of a choice to its end adds to a sweep side by side."""
        steps = trained_length(choice.grid, choice.place, TUNE_SEED).steps
        return self.speed.seconds(choice.grid.configs[choice.place], steps)

    def steps(self, choice: Choice) -> int:
        """The step of the best validation of a choice, the median over its seeds."""
        seeds = (TUNE_SEED, *(CONFIRM_SEEDS if choice.fresh else ()))
        lengths = [trained_length(choice.grid, choice.place, seed) for seed in seeds]
        return round(median(length.best_step for length in lengths))


def rung_steps(epoch: int, steps: float) -> list[int]:
    """Steps at which the worse points of an arm end.

    Examples:
      >>> rung_steps(10, 1000), rung_steps(700, 2800), rung_steps(10, float("inf"))
      ([20, 60], [700, 1400], [20, 60])
    """
    marks = [
        int(min(epoch * rung, steps * share))
        for rung, share in zip(RUNGS, SHARES, strict=True)
    ]
    return sorted({mark for mark in marks if mark > 0})


def _size(grids: Sequence[ArmGrid]) -> str:
    """The number of points in words."""
    number = sum(len(grid.points) for grid in grids)
    points = "one point" if number == 1 else f"{number} points"
    return f"{points} of {len(grids)} arms" if len(grids) > 1 else points
