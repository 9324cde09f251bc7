"""Selection of hyperparameters on validation, per arm of a study.

Every arm tries as many points of its own grid, with seeds that are not used on test.
All trials and choices are kept beside the study, in select.json and select.csv.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl

from twotower_jax.config.describe import declaration
from twotower_jax.data.parse_text import parse_json
from twotower_jax.data.text_files import read_text, sealed, unsealed, write_text
from twotower_jax.errors import InputError
from twotower_jax.run.folder import ON_VALIDATION

Axes = dict[str, list[str]]
Point = dict[str, str]


def grid_size(axes: Axes) -> int:
    """The number of points of a grid."""
    return math.prod(map(len, axes.values()))


def shuffled(points: list[Point], seed: int = 0) -> list[Point]:
    """The points of a grid in an order of which every beginning is a sample."""
    order = np.random.default_rng(seed).permutation(len(points))
    return [points[place] for place in order]


def grid_points(axes: Axes, trials: int | None = None, seed: int = 0) -> list[Point]:
    """The points of a grid, the last axis fastest, or a random part of them."""
    places = range(grid_size(axes))
    if trials is not None and trials < len(places):
        rng = np.random.default_rng(seed)
        places = sorted(rng.choice(len(places), trials, replace=False).tolist())
    every = list(itertools.product(*axes.values()))
    return [dict(zip(axes, every[place], strict=True)) for place in places]


FILE, TABLE = "select.json", "select.csv"
FOLDER = ON_VALIDATION


@dataclass(frozen=True)
class Trial:
    """The validation metric of one arm at one point of the grid."""

    point: Point  # the value of each axis, as on the command line
    # the metric on validation, one per run that finished with a value
    values: tuple[float, ...]
    # the step at which the point was left, behind others of its arm; None where its
    # runs were trained to their ends, 0 where time ended before them
    left_at: int | None = None

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
    """The trials of one arm and its choice."""

    arm: str  # its name
    axes: Axes  # the values of each axis of its grid
    trials: tuple[Trial, ...]  # one per point that was tried, in the order of the grid
    chosen: int | None  # index of the best trial; None if all runs finished at no point
    # folder names of the chosen point's runs in the folder of the study
    runs: tuple[str, ...] = ()

    @property
    def tunable(self) -> bool:
        """Whether the arm tried two or more points."""
        return grid_size(self.axes) > 1

    @property
    def exhausted(self) -> bool:
        """Whether the trials are all points of the arm's grid."""
        return len(self.trials) == grid_size(self.axes)


@dataclass(frozen=True)
class Selection:
    """The selection of all arms of a study."""

    metric: str  # the validation metric; larger is better
    tune_seeds: tuple[int, ...]  # seeds of the runs on validation, and of those on test
    seeds: tuple[int, ...]
    arms: tuple[ArmChoice, ...]  # the trials and the choice of each arm
    # the largest number of trials per arm; None for all points of each grid
    limit: int | None = None
    # the file of the selection whose choices are carried to this study; None where the
    # arms were tuned here
    source: str | None = None

    @property
    def axes(self) -> Axes:
        """The axes of all arms; of two arms with the same key those of the later."""
        return {key: values for one in self.arms for key, values in one.axes.items()}

    @property
    def sentence(self) -> str:
        """The number of trials per arm and their seeds, in words."""
        arms = {one.arm: one for one in self.arms}
        sources = [self.source] if self.source else []
        return tuning_sentence(arms, self.tune_seeds, sources)


def choose(trials: Sequence[Trial], runs: int) -> int | None:
    """The index of the trial with the largest mean; of equal ones the first.

    A trial counts only if all its runs have a value, and were trained to their ends.
    Otherwise a point that diverges for some seeds would be judged by its lucky seeds.
    """
    whole = [
        place
        for place, trial in enumerate(trials)
        if len(trial.values) == runs > 0 and trial.left_at is None
    ]
    return max(whole, key=lambda i: (fmean(trials[i].values), -i), default=None)


def edges(choice: ArmChoice) -> list[str]:
    """The numeric axes at whose end the chosen point lies, as key=value (which end).

    A better value may lie beyond the end of the axis, so that the arm is not tuned
    yet. The limits of the key's own range do not count as ends. An arm whose
    trials are all equal has none either: the axes do not affect it.
    """
    if choice.chosen is None or len({trial.values for trial in choice.trials}) == 1:
        return []
    point, ends = choice.trials[choice.chosen].point, []
    for key, texts in choice.axes.items():
        try:
            values, value = [float(text) for text in texts], float(point[key])
        except ValueError:
            continue  # names have no ends
        declared = declaration(key)
        if declared is not None and value in (declared.low, declared.high):
            continue
        if len(set(values)) > 1 and value in (min(values), max(values)):
            end = "smallest" if value == min(values) else "largest"
            ends.append(f"{key}={point[key]} ({end})")
    return ends


def write_selection(selection: Selection, folder: Path) -> None:
    """Write select.json and select.csv."""
    values = asdict(selection)
    for one, choice in zip(values["arms"], selection.arms, strict=True):
        one["edges"] = edges(choice)
    text = json.dumps(sealed(values), indent=2, ensure_ascii=False)
    write_text(folder / FILE, text + "\n")
    rows = [
        {
            "arm": one.arm,
            **trial.point,
            "mean": trial.mean,
            "sd": trial.sd,
            "runs": len(trial.values),
            "left_at": trial.left_at,
            "chosen": place == one.chosen,
        }
        for one in selection.arms
        for place, trial in enumerate(one.trials)
    ]
    table = pl.DataFrame(rows, infer_schema_length=None)
    write_text(folder / TABLE, table.write_csv())


def read_selection(folder: Path) -> Selection | None:
    """Read select.json of a study."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        values = unsealed(parse_json(read_text(path)))
        limit, source = values.get("limit"), values.get("source")
        return Selection(
            str(values["metric"]),
            tuple(map(int, values["tune_seeds"])),
            tuple(map(int, values["seeds"])),
            # A file of an earlier version has one grid for all arms.
            tuple(_arm({"axes": values.get("axes")} | one) for one in values["arms"]),
            None if limit is None else int(limit),
            None if source is None else str(source),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise InputError(
            f"{path} is broken or was changed; remove it and repeat the command of the "
            "sweep: finished runs are kept"
        ) from None


def tuning_sentence(
    arms: Mapping[str, ArmChoice], seeds: Sequence[int], sources: Sequence[str] = ()
) -> str:
    """The number of trials per arm, their seeds, and the arms with smaller grids."""
    number = max((len(one.trials) for one in arms.values()), default=0)
    fewer = [
        f"{name} all {len(one.trials)} of its grid"
        for name, one in arms.items()
        if len(one.trials) < number and one.tunable
    ]
    text = f"tuned: {number} trials per arm on validation"
    text += f" ({', '.join(fewer)})" if fewer else ""
    text += f", seeds {', '.join(map(str, seeds))}"
    return text + (f", in {' and '.join(sources)}" if sources else "")


def _arm(values: dict[str, Any]) -> ArmChoice:
    trials = tuple(
        Trial(
            {str(k): str(v) for k, v in one["point"].items()},
            tuple(map(float, one["values"])),
            one.get("left_at"),
        )
        for one in values["trials"]
    )
    chosen = values["chosen"]
    if chosen is not None:
        trials[chosen]  # raises where there is none
    axes = {str(key): list(map(str, ones)) for key, ones in values["axes"].items()}
    return ArmChoice(str(values["arm"]), axes, trials, chosen, tuple(values["runs"]))
