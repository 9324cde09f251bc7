"""The arms of a selection at the points of its grid, and their checks."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from twotower_jax.config import Config, fingerprint
from twotower_jax.config.checks import whole_number
from twotower_jax.errors import InputError
from twotower_jax.run.inputs import check_watched
from twotower_jax.run.records import RunFolder, run_folder
from twotower_jax.study.naming import NOT_DIFFERENCES
from twotower_jax.study.selection import FOLDER, Point

# Keys that cannot be tuned: names of runs, held-out data, and the evaluation.
NO_AXES = (*NOT_DIFFERENCES, "arms", "data", "evaluation", "experiment", "hydra")


class Arm(NamedTuple):
    """An arm of the study.

    Attributes:
      words: its overrides, without a seed.
      points: its configuration at each point of the grid.
    """

    words: tuple[str, ...]
    points: list[Config]


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


def tuning_run(arm: Arm, place: int, point: Point, seed: int) -> TuningRun:
    """Return the run of an arm at a point, evaluated on validation alone.

    It has a folder of its own, so that the folder of the study has winners only.

    Args:
      arm: the arm.
      place: the index of the point in the grid.
      point: the values of the axes.
      seed: of the run.

    Raises:
      InputError: where there is no validation set.
    """
    start = arm.points[place]
    evaluation = replace(start.evaluation, test=False)
    name = f"{start.name}/{FOLDER}"
    config = replace(start, seed=seed, name=name, evaluation=evaluation)
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    own = [f"seed={seed}", "evaluation.test=false", f"name='{quoted}'"]
    kept = [w for w in arm.words if not w.startswith(("name=", "evaluation.test="))]
    return TuningRun([*kept, *point_words(point), *own], config)


def valid_metric(config: Config, metric: str) -> float | None:
    """Return a metric of a finished run on validation, None without a value.

    Args:
      config: the run.
      metric: its name, such as ``recall@20``.
    """
    result = RunFolder(run_folder(config)).read("result")
    return None if result is None else result["metrics"]["valid"].get(metric)


def test_runs(config: Config, seeds: Iterable[int]) -> tuple[str, ...]:
    """Return the names of the folders of a winner's runs.

    Args:
      config: the winner.
      seeds: of its runs.
    """
    return tuple(fingerprint(replace(config, seed=seed)) for seed in seeds)


def check_axis(key: str) -> None:
    """Refuse an axis that changes the data or the metric that validation compares.

    Raises:
      InputError: for such an axis.

    Examples:
      >>> check_axis("loss.temperature")
      >>> check_axis("data.valid_share")
      Traceback (most recent call last):
        ...
      InputError: hydra.sweeper.tune.data.valid_share cannot be tuned
    """
    if key.partition(".")[0] in NO_AXES:
        raise InputError(
            f"hydra.sweeper.tune.{key} cannot be tuned: validation compares models of "
            "an arm on the same data by the same metric; put it into "
            "hydra.sweeper.params, or leave it out"
        )


def check_budget(budget: int | None) -> None:
    """Refuse a budget below one point; None is the whole grid."""
    if budget is not None:
        whole_number("hydra.sweeper.budget", budget, 1)


def check_seeds(tuned: Sequence[int], seeds: Sequence[int]) -> None:
    """Refuse seeds of the tuning that the test would use again.

    Args:
      tuned: seeds of the runs on validation.
      seeds: seeds of the runs on test.

    Raises:
      InputError: where there are none, or both share one.

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


def check_metric(metric: str, arms: Iterable[Arm]) -> None:
    """Refuse a metric that some run would not have.

    Args:
      metric: the metric of the selection.
      arms: at all points of the grid.

    Raises:
      InputError: naming the metrics of the run.
    """
    for arm in arms:
        for config in arm.points:
            check_watched("hydra.sweeper.metric", metric, config)


def check_one_folder(arms: Sequence[Arm]) -> None:
    """Refuse arms in different folders.

    Raises:
      InputError: naming two folders.
    """
    first, *others = (str(run_folder(arm.points[0]).parent) for arm in arms)
    for place in others:
        if place != first:
            raise InputError(
                f"the arms of a selection are kept in one folder, not in {first} "
                f"and {place}; give them one name= and output="
            )
