"""The runs of an advice: composed from overrides, launched side by side."""

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from rich.console import Console

from twotower_jax.advice.space import Arm
from twotower_jax.config import Config
from twotower_jax.run.checks import check_names
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import Loaded, split_log
from twotower_jax.study.selection import Axes, Point, grid_points, shuffled
from twotower_jax.sweeps import arm_points
from twotower_jax.sweeps.arm_points import ArmGrid, Names, TuningRun, point_words
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.sweeps.jobs import EXPECTED
from twotower_jax.sweeps.runner import run_many

# Failures of one run after which the others go on; that of a device without memory is a
# RuntimeError.
FAILURES = (*EXPECTED, MemoryError, RuntimeError)


class Runs:
    """Composes and launches runs on one data set."""

    def __init__(
        self, words: Sequence[str], data: Loaded, console: Console, command: str
    ):
        """Prepare the runs."""
        self.words, self.data = list(words), data
        self.errors: dict[str, str] = {}
        self._console, self._command = console, command

    def _load(self, config: Config) -> Loaded:
        """The data of a configuration; the log is read once."""
        if not config.data.fit_valid:
            return self.data
        return split_log(self.data.log, config.data)

    def config(self, *words: str) -> Config:
        """A configuration of the common overrides and these."""
        return compose_config([*self.words, *words])

    def grid(self, arm: Arm, *words: str) -> ArmGrid:
        """An arm at all points of its axes.

        The first point, those that differ from it in one key, then those that differ in
        two: few trials then show what each key does. Of these, the ones nearer on their
        axes come first. Points that are alike in this are in random order.
        """
        points = shuffled(grid_points(arm.axes))
        points.sort(key=lambda point: distance(point, arm.first or {}, arm.axes))
        return self.points(arm.choice, points, *words)

    def points(self, choice: str, points: list[Point], *words: str) -> ArmGrid:
        """An arm at the given points, in their order."""
        own = (*self.words, *words, f"arms={choice}")
        start = compose_config(own)
        configs = [compose_config([*own, *point_words(point)]) for point in points]
        for config in configs:
            check_names(config)
        names = Names(start.towers.kind, start.arm, choice)
        axes: Axes = {}
        for key, value in (pair for point in points for pair in point.items()):
            if value not in axes.setdefault(key, []):
                axes[key].append(value)
        return ArmGrid(arm_points.Arm(own, names, start), axes, points, configs)

    def launch(self, runs: Sequence[TuningRun]) -> list[bool]:
        """Run jobs and return for each whether it finished or paused."""
        configs = [run.config for run in runs]
        reasons = self.launch_configs(configs)
        for config, reason in zip(configs, reasons, strict=True):
            if reason is not None:
                self.errors[label(config)] = reason
        return [reason is None for reason in reasons]

    def launch_configs(self, configs: Sequence[Config]) -> list[str | None]:
        """Run configurations, and go on where one of them fails."""
        reasons: list[str | None] = []
        outcomes = run_many(
            configs, console=self._console, command=self._command, load=self._load
        )
        with closing(outcomes):  # a stop ends here when every run has saved its state
            for outcome in outcomes:
                error = outcome.error
                if not isinstance(error, FAILURES):
                    outcome.get()  # raises a stop
                    reasons.append(None)
                    continue
                kind = (
                    "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
                )
                reasons.append(f"{kind}{error}".partition("\n")[0])
                self._console.print(f"left out: {reasons[-1]}", markup=False)
        return reasons


def label(config: Config) -> str:
    """The name of the arm of a run."""
    return config.arm or config.towers.kind


def distance(point: Point, first: Point, axes: Axes) -> tuple[int, int]:
    """Distance of a point from the first one: keys that differ, and places on axes.

    Examples:
      >>> axes = {"a": ["1", "2", "3"], "b": ["x", "y", "z"]}
      >>> distance({"a": "3", "b": "x"}, {"a": "1", "b": "x"}, axes)
      (1, 2)
      >>> distance({"a": "1", "b": "z"}, {"a": "1", "b": "x"}, axes)
      (1, 0)
    """
    different = [key for key in point if point[key] != first.get(key)]
    steps = [
        abs(axes[key].index(point[key]) - axes[key].index(first[key]))
        if first.get(key) in axes[key]
        else 1
        for key in different
        if _is_number(axes[key][0])
    ]
    return len(different), max(steps, default=0)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class Length(NamedTuple):
    """Length of a training."""

    steps: int  # that were trained
    best_step: int  # the step of the best validation


def trained_length(grid: ArmGrid, index: int, seed: int) -> Length:
    """The length of the training of a point, to its end."""
    config = arm_points.tuning_run(grid, index, seed).config
    result = RunFolder(run_folder(config)).result()
    return Length(int(result["steps"]), int(result["best_step"]))


def final_words(grid: ArmGrid, point: Point, steps: int) -> list[str]:
    """The overrides of a run on training and validation together."""
    # Without a validation set only the number of steps ends the training.
    own = ["data.fit_valid=true", "training.patience=0", f"training.steps={steps}"]
    return [*grid.arm.words, *point_words(point), *own]
