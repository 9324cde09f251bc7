"""The arms of a selection, their axes, and the points of their grids."""

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser

from twotower_jax.config import Config, fingerprint
from twotower_jax.errors import InputError, closest
from twotower_jax.model.towers import BASELINES
from twotower_jax.run.checks import check_watched
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.study.naming import NOT_DIFFERENCES
from twotower_jax.study.selection import FOLDER, Axes, Point, Trial, grid_size
from twotower_jax.sweeps.options import Options
from twotower_jax.sweeps.wrong_words import MOST, check_number

# Keys that cannot be tuned: names of runs, held-out data, and the evaluation.
NO_AXES = (*NOT_DIFFERENCES, "arms", "data", "evaluation", "experiment", "hydra")


class Names(NamedTuple):
    """The names under which `hydra.sweeper.arm_tune` finds an arm."""

    kind: str  # its ``towers.kind``
    label: str | None  # its label, the key ``arm``; None without one
    choice: str | None  # its choice of the group ``arms``; None without one


class Arm(NamedTuple):
    """An arm of the study."""

    words: tuple[str, ...]  # its overrides, without a seed
    names: Names  # the names under which it has axes of its own
    config: Config  # its configuration without a point


class ArmGrid(NamedTuple):
    """The points of an arm that are tried."""

    arm: Arm  # the arm
    axes: Axes  # the values of each axis
    points: list[Point]  # of its grid
    configs: list[Config]  # its configuration at each of these points


class TuningRun(NamedTuple):
    """A run on validation alone: its overrides and the configuration they compose."""

    words: list[str]
    config: Config


def point_words(point: Point) -> list[str]:
    """A point as overrides."""
    return [f"{key}={value}" for key, value in point.items()]


def tuning_run(
    grid: ArmGrid, index: int, seed: int, pause: int | None = None
) -> TuningRun:
    """The run of an arm at a point, evaluated on validation alone.

    It has a folder of its own, so that the folder of the study has winners only.
    """
    start, words = grid.configs[index], grid.arm.words
    evaluation = replace(start.evaluation, test=False)
    name = f"{start.name}/{FOLDER}"
    config = replace(start, seed=seed, name=name, evaluation=evaluation, pause=pause)
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    own = [f"seed={seed}", "evaluation.test=false", f"name='{quoted}'"]
    own += [f"pause={pause}"] if pause is not None else []
    kept = [w for w in words if not w.startswith(("name=", "evaluation.test="))]
    return TuningRun([*kept, *point_words(grid.points[index]), *own], config)


def valid_metric(config: Config, metric: str) -> float | None:
    """A metric of a run on validation, None without a value.

    At a pause it is the best validation up to there, whether the run has gone on or
    not: a sweep that is repeated judges as before.
    """
    record = RunFolder(run_folder(config))
    if config.pause is None:
        result = record.read("result")
        return None if result is None else result["metrics"]["valid"].get(metric)
    best = None
    for line in record.metrics():
        value = line.get("valid", {}).get(metric)
        if value is not None and (best is None or value > best):
            best = value
        if line["step"] >= config.pause:
            break
    return best


def test_runs(config: Config, seeds: Iterable[int]) -> tuple[str, ...]:
    """The names of the folders of a winner's runs."""
    return tuple(fingerprint(replace(config, seed=seed)) for seed in seeds)


def check_set_once(words: Iterable[str], grid: ArmGrid, option: str) -> None:
    """Refuse a key that has an axis and is set for the arms too."""
    if both := set(words) & {key for point in grid.points for key in point}:
        raise InputError(
            f"{min(both)} is tuned by {option} and set for the arms too, by "
            "hydra.sweeper.params or on the command line; leave one out"
        )


def read_seed(text: str) -> int:
    """A seed."""
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"seed={text} is not an integer; give seeds such as 0,1"
        ) from None


def check_seeds(tuned: Sequence[int], seeds: Sequence[int]) -> None:
    """Refuse seeds of the tuning that the test would use again."""
    key = f"hydra.sweeper.tune_seeds={list(tuned)}"
    if not tuned:
        raise InputError(f"{key} is empty; give one or more seeds, such as [100,101]")
    if both := sorted(set(seeds) & set(tuned)):
        raise InputError(
            f"{key} and seed={list(seeds)} share {both}: winners would be tested with "
            "the seeds that chose them; give other tune_seeds"
        )


def check_metric(metric: str, grids: Iterable[ArmGrid]) -> None:
    """Refuse a metric that some run would not have."""
    for grid in grids:
        for config in grid.configs:
            check_watched("hydra.sweeper.metric", metric, config)


def check_one_folder(arms: Sequence[Arm]) -> None:
    """Refuse arms in different folders."""
    first, *others = (str(run_folder(arm.config).parent) for arm in arms)
    for folder in others:
        if folder != first:
            raise InputError(
                f"the arms of a selection are kept in one folder, not in {first} "
                f"and {folder}; give them one name= and output="
            )


# --- axes -----------------------------------------------------------------------------


class AllAxes(NamedTuple):
    """The axes of a selection."""

    common: Axes  # the axes of all arms but the baselines, which no training changes
    own: dict[str, Axes]  # axes of single arms, by name

    def of(self, names: Names) -> Axes:
        """The axes of an arm; its own replace common ones of the same key."""
        axes = {} if names.kind in BASELINES else dict(self.common)
        for name in dict.fromkeys(names):
            axes |= self.own.get(name or "", {})
        return axes


def read_axes(options: Options) -> AllAxes:
    """The axes of the options."""
    own = {
        str(name): _axes(f"hydra.sweeper.arm_tune.{name}", values)
        for name, values in options.arm_tune.items()
    }
    return AllAxes(_axes("hydra.sweeper.tune", options.tune), own)


def check_axes(axes: AllAxes, arms: Iterable[Names]) -> None:
    """Refuse axes of unknown arms, a study without an axis, and too many points.

    Axes of baselines may stay unused: the sweeper has defaults of them.
    """
    arms = list(arms)
    names = {name for arm in arms for name in arm if name is not None}
    for name in axes.own:
        if name not in names and name not in BASELINES:
            near = closest(name, sorted(names))
            shown = ", ".join(map(repr, sorted(names)))
            raise InputError(
                f"hydra.sweeper.arm_tune.{name}: no arm has this label, this choice of "
                f"arms= or this towers.kind{f' ({near})' if near else ''}; give one of "
                f"{shown}"
            )
    for arm in arms:
        if (points := grid_size(axes.of(arm))) > MOST:
            listed = " and ".join(axes.of(arm))
            raise InputError(
                f"hydra.sweeper.tune and arm_tune give an arm {points:,} points of "
                f"{listed}; an arm has at most {MOST:,}: give fewer values"
            )
    if not any(axes.of(arm) for arm in arms):
        raise InputError(
            "no arm of this study has an axis to tune; give one, such as hydra.sweeper."
            "tune={optimizer.learning_rate:[0.02,0.05,0.1]}, or leave out "
            "hydra/sweeper"
        )


def _axes(option: str, values: Any) -> Axes:
    """The axes that one option holds, {key: values as on the command line}."""
    if not isinstance(values, Mapping):
        raise InputError(
            f"{option}={values} holds no axes; write {option}={{loss.temperature:"
            "[0.05,0.1]}"
        )
    for key in values:
        check_axis(option, str(key))
    return {str(key): _axis(option, str(key), value) for key, value in values.items()}


def check_axis(option: str, key: str) -> None:
    """Refuse an axis that changes the data or the metric that validation compares."""
    if key.partition(".")[0] in NO_AXES:
        raise InputError(
            f"{option}.{key} cannot be tuned: validation compares models of "
            "an arm on the same data by the same metric; put it into "
            "hydra.sweeper.params, or leave it out"
        )


def _axis(option: str, key: str, values: Any) -> list[str]:
    """The distinct values of an axis, from `0.05,0.1` or a list."""
    if isinstance(values, list):
        values = ",".join("null" if word is None else str(word) for word in values)
    if isinstance(values, Mapping):
        raise InputError(
            f"{option}.{key} holds keys; write each axis in one, such as "
            f"{key}.{next(iter(values), 'name')}: 0.05,0.1"
        )
    if values is None or not str(values).strip():
        raise InputError(f"{option}.{key} is empty; give its values, such as 0.05,0.1")
    (word,) = OverridesParser.create().parse_overrides([f"{key}={values}"])
    check_number([word])
    if word.is_sweep_override():
        return list(dict.fromkeys(map(str, word.sweep_string_iterator())))
    return [word.get_value_element_as_str()]


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
    """A line about points for which the time was too short."""
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
    """The metric of each point, one value per run that finished with one."""
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
    """The points of each arm that go on, the best first."""
    left: dict[int, list[int]] = {}
    for arm, grid in enumerate(grids):
        if is_exact(grid):
            continue
        mine = [index for of_arm, index in tried if of_arm == arm]
        whole = [index for index in mine if len(tried[arm, index]) == runs]
        whole.sort(key=lambda index: (-(trials[arm, index].mean or 0.0), index))
        left[arm] = whole[: math.ceil(len(mine) / eta)]
    return left
