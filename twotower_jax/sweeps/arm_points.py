"""The arms of a selection at the points of its grid, and their checks."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from twotower_jax.config import Config, fingerprint
from twotower_jax.config.checks import whole_number
from twotower_jax.errors import InputError
from twotower_jax.run.checks import check_watched
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.study.grid import Axes, Point
from twotower_jax.study.selection import FOLDER
from twotower_jax.sweeps.axes import Names


class Arm(NamedTuple):
    """An arm of the study.

    Attributes:
      words: its overrides, without a seed.
      names: the names under which it has axes of its own.
      config: its configuration without a point.
    """

    words: tuple[str, ...]
    names: Names
    config: Config


class ArmGrid(NamedTuple):
    """The points of an arm that are tried.

    Attributes:
      arm: the arm.
      axes: the values of each axis.
      points: of its grid.
      configs: its configuration at each of these points.
    """

    arm: Arm
    axes: Axes
    points: list[Point]
    configs: list[Config]


class TuningRun(NamedTuple):
    """A run on validation alone: its overrides and the configuration they compose."""

    words: list[str]
    config: Config


def point_words(point: Point) -> list[str]:
    """Return a point as overrides.

    Examples:
      >>> point_words({"loss.temperature": "0.1", "training.epochs": "2"})
      ['loss.temperature=0.1', 'training.epochs=2']
    """
    return [f"{key}={value}" for key, value in point.items()]


def tuning_run(
    grid: ArmGrid, place: int, seed: int, pause: int | None = None
) -> TuningRun:
    """Return the run of an arm at a point, evaluated on validation alone.

    It has a folder of its own, so that the folder of the study has winners only.

    Args:
      pause: the step at which it pauses; None: it is trained to its end.
    """
    start, words = grid.configs[place], grid.arm.words
    evaluation = replace(start.evaluation, test=False)
    name = f"{start.name}/{FOLDER}"
    config = replace(start, seed=seed, name=name, evaluation=evaluation, pause=pause)
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    own = [f"seed={seed}", "evaluation.test=false", f"name='{quoted}'"]
    own += [f"pause={pause}"] if pause is not None else []
    kept = [w for w in words if not w.startswith(("name=", "evaluation.test="))]
    return TuningRun([*kept, *point_words(grid.points[place]), *own], config)


def valid_metric(config: Config, metric: str) -> float | None:
    """Return a metric of a run on validation, None without a value.

    At a pause it is the best validation up to there, whether the run has gone on or
    not: a sweep that is repeated judges as before.
    """
    record = RunFolder(run_folder(config))
    if config.pause is None:
        result = record.read("result")
        return None if result is None else result["metrics"]["valid"].get(metric)
    best = None
    for one in record.metrics():
        value = one.get("valid", {}).get(metric)
        if value is not None and (best is None or value > best):
            best = value
        if one["step"] >= config.pause:
            break
    return best


def test_runs(config: Config, seeds: Iterable[int]) -> tuple[str, ...]:
    """Return the names of the folders of a winner's runs."""
    return tuple(fingerprint(replace(config, seed=seed)) for seed in seeds)


def check_trials(trials: int | None) -> None:
    """Refuse a number of trials below one; None is the whole grid."""
    if trials is not None:
        whole_number("hydra.sweeper.trials", trials, 1)


def check_set_once(words: Iterable[str], grid: ArmGrid, option: str) -> None:
    """Refuse a key that has an axis and is set for the arms too."""
    if both := set(words) & {key for point in grid.points for key in point}:
        raise InputError(
            f"{min(both)} is tuned by {option} and set for the arms too, by "
            "hydra.sweeper.params or on the command line; leave one out"
        )


def read_seed(text: str) -> int:
    """Return a seed."""
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"seed={text} is not an integer; give seeds such as 0,1"
        ) from None


def check_seeds(tuned: Sequence[int], seeds: Sequence[int]) -> None:
    """Refuse seeds of the tuning that the test would use again.

    Examples:
      >>> check_seeds([100, 101], [0, 1])
    """
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
    for place in others:
        if place != first:
            raise InputError(
                f"the arms of a selection are kept in one folder, not in {first} "
                f"and {place}; give them one name= and output="
            )
