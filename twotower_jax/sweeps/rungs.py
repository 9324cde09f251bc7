"""Successive halving: the points of every arm on validation, rung by rung.

Every arm has as many points on a rung. The better ones of each arm go on from their
checkpoints to the next rung, and those of the last rung are trained to their ends
(Jamieson and Talwalkar, AISTATS 2016). No arm drops out: each is tuned alike.
"""

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from twotower_jax.errors import InputError
from twotower_jax.model.towers import BASELINES
from twotower_jax.study.selection import Trial
from twotower_jax.sweeps.arm_points import (
    ArmGrid,
    TuningRun,
    tuning_run,
    valid_metric,
)
from twotower_jax.sweeps.options import Options

Place = tuple[int, int]  # an arm, and a point of its grid


class Validation(NamedTuple):
    """How points are judged."""

    metric: str  # on validation, larger is better
    seeds: tuple[int, ...]  # of the runs of a point
    # Runs jobs, and returns for each whether it finished with an objective.
    launch: Callable[[list[TuningRun]], list[bool]]
    print_line: Callable[[str], None]  # prints a line
    minutes: str = "hydra.sweeper.minutes"  # the key that limits the time
    clock: Callable[[], float] = time.monotonic  # seconds
    # The least number of runs that begin at a time, where the time is limited; arms
    # that are fitted at once begin one by one.
    together: int = 1


def check_reached(rungs: Sequence[int], grids: Iterable[ArmGrid]) -> None:
    """Refuse rungs that no training reaches before its end."""
    lengths = [
        config.training.steps
        for grid in grids
        if not is_exact(grid)
        for config in grid.configs
        if config.training.steps is not None
    ]
    if lengths and rungs and max(rungs) >= min(lengths):
        raise InputError(
            f"hydra.sweeper.rungs={list(rungs)} goes to step {max(rungs):,}, and "
            f"training.steps={min(lengths)} ends before; give smaller rungs, or more "
            "steps"
        )


def race(
    grids: Sequence[ArmGrid], options: Options, validation: Validation
) -> list[tuple[Trial, ...]]:
    """Run every arm at its points on validation, the better ones longer.

    With a limit of time each rung has an equal part of what is left. It begins with the
    first point of each arm, and goes on to the next one of each while its part lasts.
    """
    begin, clock = validation.clock(), validation.clock
    trials: dict[Place, Trial] = {}
    left = {arm: list(range(len(grid.points))) for arm, grid in enumerate(grids)}
    alone = all(map(is_exact, grids))  # no rung but the last has anything to train
    rungs = [*(() if alone else options.rungs), None]
    exact = any(map(is_exact, grids))
    least = 1 if exact else math.ceil(validation.together / len(validation.seeds))
    size = None if options.minutes is None else least
    for number, pause in enumerate(rungs):
        end = math.inf
        if options.minutes is not None:
            over = clock()
            rest = begin + 60 * options.minutes - over
            end = over + max(rest, 0) / (len(rungs) - number)
        tried: dict[Place, tuple[float, ...]] = {}
        for batch in _columns(left, size):
            if tried and clock() >= end:
                break
            tried |= _judge(grids, batch, pause, validation)
        if len(tried) < (points := sum(map(len, left.values()))):
            validation.print_line(_too_short(validation.minutes, len(tried), points))
        for (arm, index), values in tried.items():
            final = pause is None or is_exact(grids[arm])
            point = grids[arm].points[index]
            trials[arm, index] = Trial(point, values, None if final else pause)
        left = _better(grids, tried, trials, options.eta, len(validation.seeds))
        if pause is not None and (going := sum(map(len, left.values()))):
            validation.print_line(
                f"rung of {pause:,} steps: {going} of {len(tried)} points go on"
            )
    return [
        tuple(
            trials.get((arm, index), Trial(point, (), left_at=0))
            for index, point in enumerate(grid.points)
        )
        for arm, grid in enumerate(grids)
    ]


def _too_short(key: str, tried: int, points: int) -> str:
    """Return a line about points for which the time was too short."""
    return f"time for {tried} of {points} points; a larger {key} tries more"


def is_exact(grid: ArmGrid) -> bool:
    """Whether an arm is fitted at once: it has no steps, and so no rungs."""
    return grid.arm.config.towers.kind in BASELINES


def _columns(left: dict[int, list[int]], size: int | None) -> Iterable[list[Place]]:
    """Yield the points to run together: the next one of each arm, repeated."""
    chosen: list[Place] = []
    for column in itertools.zip_longest(*left.values()):
        points = zip(left, column, strict=True)
        chosen += [(arm, index) for arm, index in points if index is not None]
        if size is not None and len(chosen) >= size:
            yield chosen
            chosen = []
    if chosen:
        yield chosen


def _judge(
    grids: Sequence[ArmGrid],
    points: Sequence[Place],
    pause: int | None,
    validation: Validation,
) -> dict[Place, tuple[float, ...]]:
    """Return the metric of each point, one value per run that finished with one."""
    runs = [
        (
            (arm, index),
            tuning_run(
                grids[arm], index, seed, None if is_exact(grids[arm]) else pause
            ),
        )
        for arm, index in points
        for seed in validation.seeds
    ]
    finished = validation.launch([run for _, run in runs])
    values: dict[Place, list[float]] = defaultdict(list)
    for (where, run), done in zip(runs, finished, strict=True):
        value = valid_metric(run.config, validation.metric) if done else None
        if value is not None:
            values[where].append(value)
    return {where: tuple(values[where]) for where in points}


def _better(
    grids: Sequence[ArmGrid],
    tried: dict[Place, tuple[float, ...]],
    trials: dict[Place, Trial],
    eta: int,
    runs: int,
) -> dict[int, list[int]]:
    """Return the points of each arm that go on, the best first."""
    left: dict[int, list[int]] = {}
    for arm, grid in enumerate(grids):
        if is_exact(grid):
            continue
        mine = [index for of_arm, index in tried if of_arm == arm]
        whole = [index for index in mine if len(tried[arm, index]) == runs]
        whole.sort(key=lambda index: (-(trials[arm, index].mean or 0.0), index))
        left[arm] = whole[: math.ceil(len(mine) / eta)]
    return left
