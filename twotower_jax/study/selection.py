"""Selection of hyperparameters on validation, per arm of a study.

Every arm tries the same points of a grid, with seeds that are not used on test. All
trials and choices are kept beside the study, in select.json and select.csv.
"""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.errors import InputError
from twotower_jax.run.records import write_text

FILE, TABLE = "select.json", "select.csv"
FOLDER = "select"  # below the folder of the study: the runs on validation alone

Point = dict[str, str]


@dataclass(frozen=True)
class Trial:
    """The validation metric of one arm at one point of the grid.

    Attributes:
      point: the value of each axis, as on the command line.
      values: the metric on validation, one per run that finished with a value.
    """

    point: Point
    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """The mean over the runs; None without runs."""
        return fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """The standard deviation over the runs (ddof 1); None for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class ArmChoice:
    """The trials of one arm and its choice.

    Attributes:
      arm: its name.
      trials: one per point, in the order of the grid.
      chosen: index of the best trial; None if all runs finished at no point.
      runs: folder names of the chosen point's runs in the folder of the study.
    """

    arm: str
    trials: tuple[Trial, ...]
    chosen: int | None
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """The selection of all arms of a study.

    Attributes:
      metric: the validation metric; larger is better.
      axes: the values of each axis.
      tune_seeds, seeds: seeds of the runs on validation, and of those on test.
      arms: the trials and the choice of each arm.
    """

    metric: str
    axes: dict[str, list[str]]
    tune_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    arms: tuple[ArmChoice, ...]


def grid_size(axes: dict[str, list[str]]) -> int:
    """The number of points of a grid.

    Examples:
      >>> grid_size({"loss.temperature": ["0.1", "0.2"], "optimizer": ["adam"]})
      2
    """
    return math.prod(map(len, axes.values()))


def grid_points(
    axes: dict[str, list[str]], budget: int | None = None, seed: int = 0
) -> list[Point]:
    """The points of a grid in order, the last axis fastest, or a random part of them.

    Args:
      axes: the values of each axis.
      budget: number of points to draw without replacement; None keeps all.
      seed: seed of the draw. It does not depend on the arm: all arms try the same
        points.

    Returns:
      One {axis: value} per point.

    Examples:
      >>> grid_points({"rate": ["1", "2"], "batch": ["64", "128"]})[1]
      {'rate': '1', 'batch': '128'}
    """
    places = range(grid_size(axes))
    if budget is not None and budget < len(places):
        rng = np.random.default_rng(seed)
        places = sorted(rng.choice(len(places), budget, replace=False).tolist())
    every = list(itertools.product(*axes.values()))
    return [dict(zip(axes, every[place], strict=True)) for place in places]


def choose(trials: Sequence[Trial], runs: int) -> int | None:
    """The index of the trial with the largest mean; of equal ones the first.

    A trial counts only if all its runs have a value. Otherwise a point that diverges
    for some seeds would be judged by its lucky seeds.

    Args:
      trials: the trials of one arm.
      runs: number of runs per trial.

    Returns:
      The index; None if no trial counts.

    Examples:
      >>> choose([Trial({}, (0.1, 0.2)), Trial({}, (0.9,)), Trial({}, (0.2, 0.2))], 2)
      2
    """
    whole = [i for i, trial in enumerate(trials) if len(trial.values) == runs > 0]
    return max(whole, key=lambda i: (fmean(trials[i].values), -i), default=None)


def edges(axes: dict[str, list[str]], choice: ArmChoice) -> list[str]:
    """The numeric axes at whose end the chosen point lies, as key=value (which end).

    A better value may lie beyond the end of the axis, so that the arm is not tuned
    yet. An arm whose trials are all equal has no such axis: the axes do not affect it.

    Args:
      axes: the values of each axis.
      choice: the trials and the choice of one arm.

    Returns:
      One text per axis.

    Examples:
      >>> trials = (Trial({"rate": "0.1"}, (0.5,)), Trial({"rate": "0.2"}, (0.6,)))
      >>> edges({"rate": ["0.1", "0.2"]}, ArmChoice("bce", trials, chosen=1))
      ['rate=0.2 (largest)']
    """
    if choice.chosen is None or len({trial.values for trial in choice.trials}) == 1:
        return []
    point, ends = choice.trials[choice.chosen].point, []
    for key, texts in axes.items():
        try:
            values = [float(text) for text in texts]
        except ValueError:
            continue  # names have no ends
        value = float(point[key])
        if len(set(values)) > 1 and value in (min(values), max(values)):
            end = "smallest" if value == min(values) else "largest"
            ends.append(f"{key}={point[key]} ({end})")
    return ends


def write_selection(selection: Selection, folder: Path) -> None:
    """Write select.json and select.csv.

    Args:
      selection: the selection of all arms.
      folder: the folder of the study.
    """
    text = json.dumps(asdict(selection), indent=2, ensure_ascii=False)
    write_text(folder / FILE, text + "\n")
    rows = [
        {
            "arm": one.arm,
            **trial.point,
            "mean": trial.mean,
            "sd": trial.sd,
            "runs": len(trial.values),
            "chosen": place == one.chosen,
        }
        for one in selection.arms
        for place, trial in enumerate(one.trials)
    ]
    table = pl.DataFrame(rows, infer_schema_length=None)
    write_text(folder / TABLE, table.write_csv())


def read_selection(folder: Path) -> Selection | None:
    """Read select.json of a study.

    Args:
      folder: the folder of the study.

    Returns:
      The selection; None without the file.

    Raises:
      InputError: when the content of the file is not a selection.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Selection(
            str(values["metric"]),
            {key: [str(one) for one in ones] for key, ones in values["axes"].items()},
            tuple(map(int, values["tune_seeds"])),
            tuple(map(int, values["seeds"])),
            tuple(map(_arm, values["arms"])),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise InputError(
            f"{path} is broken; remove it and repeat the command of the sweep: "
            "finished runs are kept"
        ) from None


def tuned_alike(folder: Path) -> str | None:
    """Whether all tested arms of a study were tuned alike, as a sentence for a table.

    They were if the selection chose every finished run of the folder. Another run
    belongs to an arm without tuning, or to an earlier choice.

    Args:
      folder: the folder of the study.

    Returns:
      Such as "tuned: 12 trials per arm on validation, seeds 100"; None where an arm is
      untuned.

    Raises:
      InputError: when the content of select.json is not a selection.
    """
    selection = read_selection(folder)
    if selection is None:
        return None
    tested = {path.parent.name for path in folder.glob("*/result.json")}
    if tested - {run for one in selection.arms for run in one.runs}:
        return None
    tried = max((len(one.trials) for one in selection.arms), default=0)
    seeds = ", ".join(map(str, selection.tune_seeds))
    return f"tuned: {tried} trials per arm on validation, seeds {seeds}"


def _arm(values: dict[str, Any]) -> ArmChoice:
    trials = tuple(
        Trial(
            {str(k): str(v) for k, v in one["point"].items()},
            tuple(map(float, one["values"])),
        )
        for one in values["trials"]
    )
    chosen = values["chosen"]
    if chosen is not None:
        trials[chosen]  # raises where there is none
    return ArmChoice(str(values["arm"]), trials, chosen, tuple(values["runs"]))
