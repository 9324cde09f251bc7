"""What was tuned, in words: lines of the console and a section of the report."""

from collections.abc import Sequence
from html import escape

import polars as pl

from twotower_jax.report.page import box
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
    """Return a line for each arm: its winner, and whether it lies on an edge."""
    lines = [f"chosen on validation by {selection.metric}, {_often(selection)}:"]
    for one in selection.arms:
        found = edges(selection.axes, one)
        edge = f"; on the edge of the grid: {', '.join(found)}" if found else ""
        lines.append(f"  {one.arm}: {_winner(one)} {_mean(one)}{edge}")
    return lines


def selection_section(runs: Runs, table: pl.DataFrame) -> list[str]:
    """Return the section "What was tuned" of a report; nothing where nothing was.

    Args:
      runs: of the study; its folders without select.json have no part in it.
      table: what `arms.study_table` returns, for the names of the arms.
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
    return ["<h2>What was tuned</h2>", *lines] if lines else []


def _section(selection: Selection, names: dict[str, str]) -> list[str]:
    """Return the text and table of a selection.

    Args:
      selection: what was tuned.
      names: the arm of each finished run in the folder of the study.
    """
    axes = "; ".join(f"{k}: {', '.join(v)}" for k, v in selection.axes.items())
    text = (
        f"Each arm chose its values on validation by the mean {selection.metric}, "
        f"{_often(selection)}, from the grid {axes}. These runs did not see the test; "
        f"the winners were tested with other seeds, {_list(selection.seeds)}. {TABLE} "
        "holds every point."
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
                "may lie beyond. Extend the axis before the arms are compared."
            )
    chosen = {run for one in selection.arms for run in one.runs}
    if others := len(set(names) - chosen):
        notes.append(
            f"{others} more runs of this folder were tested that this selection did "
            "not choose: what is chosen after seeing them is chosen on the test."
        )
    heads = ["arm", "points tried", "runs each", "chosen", f"valid {selection.metric}"]
    return [
        f'<p class="soft">{escape(text)}</p>',
        *box([*heads, "on the edge"], rows, text=(0, 3, 5)),
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
    ]


def _often(selection: Selection) -> str:
    """Return how many points of the grid each arm tried, and how often."""
    tried = len(selection.arms[0].trials) if selection.arms else 0
    size = grid_size(selection.axes)
    points = f"all {size}" if tried == size else f"the same {tried} of {size}"
    seeds = _list(selection.tune_seeds)
    return f"{points} points for every arm, each with seeds {seeds}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _winner(one: ArmChoice) -> str:
    if one.chosen is None:
        return "nothing: no point was finished by all its runs"
    return " ".join(f"{k}={v}" for k, v in one.trials[one.chosen].point.items())


def _mean(one: ArmChoice) -> str:
    if one.chosen is None:
        return "-"
    trial = one.trials[one.chosen]
    spread = "" if trial.sd is None else f" ± {trial.sd:.4f}"
    return f"{trial.mean:.4f}{spread}"
