"""Selection without peeking: what the arms of a study chose on validation.

Each arm tries the same points of a grid, with seeds that its test never sees. What was
tried and chosen is kept beside the study, in select.json and select.csv.
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
    """What an arm did at a point of the grid.

    Attributes:
      point: the value of each axis, as on the command line.
      values: the metric on validation, one for each run that finished with one.
    """

    point: Point
    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """The mean over the runs; None without any."""
        return fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """The standard deviation over the runs (ddof 1); None for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class ArmChoice:
    """An arm and its trials.

    Attributes:
      arm: its name.
      trials: one for each point, in the order of the grid.
      chosen: place of the winner among the trials; None where no point was finished.
      runs: folders of the runs of the winner in the folder of the study.
    """

    arm: str
    trials: tuple[Trial, ...]
    chosen: int | None
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """What was tuned, on what and how often.

    Attributes:
      metric: of the validation set, larger is better.
      axes: the values of each axis.
      tune_seeds, seeds: of the runs on validation, and of those on test.
    """

    metric: str
    axes: dict[str, list[str]]
    tune_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    arms: tuple[ArmChoice, ...]


def grid_size(axes: dict[str, list[str]]) -> int:
    """Return the number of points of the grid."""
    return math.prod(map(len, axes.values()))


def grid_points(
    axes: dict[str, list[str]], budget: int | None = None, seed: int = 0
) -> list[Point]:
    """Return the points of the grid, the last axis fastest, or some of them.

    Args:
      axes: the values of each axis.
      budget: how many to draw, without replacement and kept in order; None for all.
      seed: of the draw. It does not know the arms: all of them try the same points.
    """
    places = range(grid_size(axes))
    if budget is not None and budget < len(places):
        rng = np.random.default_rng(seed)
        places = sorted(rng.choice(len(places), budget, replace=False).tolist())
    every = list(itertools.product(*axes.values()))
    return [dict(zip(axes, every[place], strict=True)) for place in places]


def choose(trials: Sequence[Trial], runs: int) -> int | None:
    """Return the place of the best mean; of equal ones the first.

    A point counts only where all its runs have a value, for one that diverges for some
    seeds would be taken at its lucky ones. None where no point counts.
    """
    whole = [i for i, trial in enumerate(trials) if len(trial.values) == runs > 0]
    return max(whole, key=lambda i: (fmean(trials[i].values), -i), default=None)


def edges(axes: dict[str, list[str]], choice: ArmChoice) -> list[str]:
    """Return the axes of numbers at whose end a winner lies, as key=value (which end).

    Beyond the end of an axis a better value may lie, so that the arm is not tuned yet.
    An arm whose points are all alike has none: it does not care.
    """
    if choice.chosen is None or len({trial.values for trial in choice.trials}) == 1:
        return []
    point, found = choice.trials[choice.chosen].point, []
    for key, texts in axes.items():
        try:
            values = [float(text) for text in texts]
        except ValueError:
            continue  # names have no ends
        value = float(point[key])
        if len(set(values)) > 1 and value in (min(values), max(values)):
            end = "smallest" if value == min(values) else "largest"
            found.append(f"{key}={point[key]} ({end})")
    return found


def write_selection(selection: Selection, folder: Path) -> None:
    """Write select.json and select.csv into the folder of a study."""
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
    """Return what select.json of a study holds, None without one.

    Raises:
      InputError: when the file is not what a selection writes.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Selection(
            str(values["metric"]),
            {key: [str(one) for one in found] for key, found in values["axes"].items()},
            tuple(map(int, values["tune_seeds"])),
            tuple(map(int, values["seeds"])),
            tuple(map(_arm, values["arms"])),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise InputError(
            f"{path} is broken; remove it, and repeat the command of the sweep: runs "
            "that finished are not made again"
        ) from None


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
