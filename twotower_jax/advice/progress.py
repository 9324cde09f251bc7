"""Choices on validation and runs on test of an advice, so far."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from twotower_jax.advice.space import BASE, CONTROL, HARD
from twotower_jax.study.selection import Point, Trial
from twotower_jax.sweeps.arm_points import ArmGrid

# Kinds of samples whose metric on validation differs by this share are level: one seed
# does not tell them apart.
LEVEL = 0.02
# Baselines with this share of the best metric on validation are tested too: any of them
# may be the best on test.
NEAR = 0.9
# With fewer points than this, a baseline is not tuned.
LEAST_POINTS = 5


class Choice(NamedTuple):
    """The best point of an arm."""

    grid: ArmGrid  # the points of the arm
    trials: tuple[Trial, ...]  # one per point
    place: int  # the index of the best point
    # Its metric on validation with seeds that did not choose it.
    fresh: tuple[float, ...] = ()

    @property
    def label(self) -> str:
        """Name of the arm."""
        return self.grid.arm.config.arm or self.grid.arm.names.kind

    @property
    def point(self) -> Point:
        """The best point."""
        return self.grid.points[self.place]

    @property
    def value(self) -> float:
        """Its metric on validation, the mean of the fresh seeds where there are any."""
        return fmean(self.fresh or self.trials[self.place].values or (0.0,))

    @property
    def tried(self) -> str:
        """Number of its points that were tried, of all."""
        return f"{self.points} of {len(self.trials)}"

    @property
    def points(self) -> int:
        """Number of its points that were tried."""
        return sum(bool(trial.values) for trial in self.trials)


@dataclass
class Progress:
    """Choices and test runs so far; an interrupted advice is written from them."""

    folder: Path  # of the advice
    data: str = ""  # fingerprint of the log and its split
    split: tuple[str, str] = ("", "")  # the split and its reason
    # The best point of each arm that was tuned.
    baselines: list[Choice] = field(default_factory=list)
    samples: list[Choice] = field(default_factory=list)
    model: Choice | None = None  # the best point of the model
    tests: Path | None = None  # folder of the runs on test
    # Overrides of the runs that were tested, by name of the arm.
    tested: dict[str, list[str]] = field(default_factory=dict)
    # {kind of samples: its name at the temperature of the choice}, of those that were
    # tuned to another temperature; both are tested.
    controls: dict[str, str] = field(default_factory=dict)
    # With which every one of them was tested.
    seeds: list[int] = field(default_factory=list)
    # {name: reason} of baselines that were not tried, or at fewer than `LEAST_POINTS`
    # points of a larger grid, and of what failed.
    incomplete: dict[str, str] = field(default_factory=dict)

    def untest(self, name: str) -> None:
        """Remove an arm of which every run on test failed."""
        del self.tested[name]
        pairs = self.controls.items()
        self.controls = {a: moved for a, moved in pairs if name not in (a, moved)}

    @property
    def best(self) -> Choice | None:
        """The choice on validation; None before any.

        The best baseline, where no kind of samples is better. Of kinds of samples that
        are level with the best, the first in the order of `SAMPLES`: the simplest.
        """
        samples = contenders(self.samples) or ([self.model] if self.model else [])
        top = max(
            [*samples, *self.baselines], key=lambda choice: choice.value, default=None
        )
        if top is None or top in self.baselines:
            return top
        return next(choice for choice in samples if is_level(choice.value, top.value))


def contenders(samples: list[Choice]) -> list[Choice]:
    """The kinds of samples of which one is chosen, all with values of one sort."""
    return [choice for choice in samples if choice.fresh] or samples


def keep_better(samples: list[Choice], model: Choice) -> list[Choice]:
    """The choices of the samples; that of the model where it is the better one.

    The model is the control at its best point. Halving may have dropped that point
    among the samples, where it learned more slowly at first.
    """
    name = model.grid.arm.names.choice
    return [
        model
        if choice.grid.arm.names.choice == name and model.value > choice.value
        else choice
        for choice in samples
    ]


def is_level(value: float, best: float) -> bool:
    """Whether a metric is at least (1 - `LEVEL`) times the best one."""
    return value >= (1 - LEVEL) * best


def arms_to_test(progress: Progress) -> list[Choice]:
    """The arms that are tested: the best samples and their controls, baselines."""
    samples = sorted(progress.samples, key=lambda choice: -choice.value)
    near = contenders(progress.samples)
    top = max((choice.value for choice in near), default=0.0)
    best = next((choice for choice in near if is_level(choice.value, top)), None)
    names = {CONTROL, BASE, best.grid.arm.names.choice if best else None}
    if HARD[1] in names:
        names.add(HARD[0])
    kept = [choice for choice in samples if choice.grid.arm.names.choice in names]
    baselines = sorted(progress.baselines, key=lambda choice: -choice.value)
    return [
        *kept,
        *(
            choice
            for choice in baselines
            if choice.value >= NEAR * baselines[0].value
            or choice.grid.arm.names.kind == "popularity"
        ),
    ]
