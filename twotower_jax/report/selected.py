"""Tuning on validation, in words: console lines and a section of the report."""

from collections.abc import Sequence

import polars as pl

from twotower_jax.report.page import box, note
from twotower_jax.study.runs import Runs
from twotower_jax.study.selection import (
    TABLE,
    ArmChoice,
    Selection,
    edges,
    grid_size,
    read_selection,
)


def chosen_lines(selection: Selection) -> list[str]:
    """Console lines: the chosen point of each arm, and whether it lies on an edge.

    Args:
      selection: the selection of all arms.

    Returns:
      A title and one line per arm.
    """
    lines = [f"chosen on validation by {selection.metric}, {_trials(selection)}:"]
    for one in selection.arms:
        ends = edges(selection.axes, one)
        edge = f"; on the edge of the grid: {', '.join(ends)}" if ends else ""
        lines.append(f"  {one.arm}: {_winner(one)} {_mean(one)}{edge}")
    return lines


def selection_section(runs: Runs, table: pl.DataFrame) -> list[str]:
    """HTML of the section "Tuning" of a report.

    Args:
      runs: the runs of the study; folders without select.json add nothing.
      table: the result of `arms.study_table`, for the names of the arms.

    Returns:
      Lines of HTML; none if nothing was tuned.

    Raises:
      InputError: when a select.json is broken.
    """
    arms = dict(table.select("run", "arm").unique().iter_rows())
    lines = []
    for folder in runs.folders:
        selection = read_selection(folder)
        ours = [run for run in runs.finished if run.path.parent == folder]
        if selection is not None:
            lines += _section(
                selection, {run.path.name: arms[run.name] for run in ours}
            )
    return ["<h2>Tuning</h2>", *lines] if lines else []


def _section(selection: Selection, names: dict[str, str]) -> list[str]:
    """Return the text and the table of a selection.

    Args:
      selection: the selection of all arms.
      names: the arm of each finished run in the folder of the study.
    """
    axes = "; ".join(f"{k}: {', '.join(v)}" for k, v in selection.axes.items())
    text = (
        f"Each arm has the values with the best mean {selection.metric} on validation, "
        f"{_trials(selection)}. The grid is {axes}. The runs on validation did not use "
        f"the test split; the chosen points were tested with other seeds, "
        f"{_list(selection.seeds)}. {TABLE} holds every point."
    )
    rows, notes = [], []
    for one in selection.arms:
        name = next((names[run] for run in one.runs if run in names), one.arm)
        runs = len(selection.tune_seeds)
        failed = sum(len(trial.values) < runs for trial in one.trials)
        tried = f"{len(one.trials)}{f', {failed} failed' if failed else ''}"
        edge = ", ".join(edges(selection.axes, one))
        rows.append([name, tried, str(runs), _winner(one), _mean(one), edge or "no"])
        if edge:
            notes.append(
                f"{name} is best on the edge of the grid, at {edge}: a better value "
                "may lie beyond. Extend the axis before you compare the arms."
            )
    chosen = {run for one in selection.arms for run in one.runs}
    if others := len(set(names) - chosen):
        notes.append(
            f"{others} more runs of this folder were tested that this selection did "
            "not choose. A choice made after seeing them is a choice on the test split."
        )
    heads = ["arm", "points tried", "runs per point", "chosen"]
    heads += [f"valid {selection.metric}", "on the edge"]
    return [
        note(text),
        *box(heads, rows, text=(0, 3, 5)),
        *(note(one, "note") for one in notes),
    ]


def _trials(selection: Selection) -> str:
    """Return the number of points that each arm tried, and their seeds."""
    tried = len(selection.arms[0].trials) if selection.arms else 0
    size = grid_size(selection.axes)
    points = f"all {size}" if tried == size else f"the same {tried} of {size}"
    seeds = _list(selection.tune_seeds)
    return f"{points} points for every arm, each with seeds {seeds}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _winner(one: ArmChoice) -> str:
    """Return the chosen point as key=value, or the reason for none."""
    if one.chosen is None:
        return "nothing: no point was finished by all its runs"
    return " ".join(f"{k}={v}" for k, v in one.trials[one.chosen].point.items())


def _mean(one: ArmChoice) -> str:
    """Return `mean ± sd` of the chosen point on validation."""
    if one.chosen is None:
        return "-"
    trial = one.trials[one.chosen]
    spread = "" if trial.sd is None else f" ± {trial.sd:.4f}"
    return f"{trial.mean:.4f}{spread}"
