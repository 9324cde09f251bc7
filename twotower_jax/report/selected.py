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
    """Console lines: the chosen point of each arm, and whether it lies at an edge."""
    lines = [f"{selection.sentence}; the best by {selection.metric}:"]
    for one in selection.arms:
        ends = edges(one)
        edge = f"; best value at the edge of its axis: widen {', '.join(ends)}"
        mean = _mean(one) + (edge if ends else "")
        lines.append(f"  {one.arm}: {_winner(one)} {mean}")
    return lines


def selection_section(runs: Runs, table: pl.DataFrame) -> list[str]:
    """HTML of the section "Tuning" of a report."""
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
    """The text and the table of a selection."""
    rows, notes = [], []
    for one in selection.arms:
        name = next((names[run] for run in one.runs if run in names), one.arm)
        edge = ", ".join(edges(one))
        cells = [name, _axes(one), _tried(selection, one), _winner(one), _mean(one)]
        rows.append([*cells, edge or "no"])
        if edge:
            notes.append(
                f"{name} has its best value at the edge of its axis, {edge}: a better "
                "value may lie beyond. Widen the axis before you compare the arms."
            )
    chosen = {run for one in selection.arms for run in one.runs}
    if others := len(set(names) - chosen):
        notes.append(
            f"{others} more runs of this folder were tested that this selection did "
            "not choose. A choice made after seeing them is a choice on the test split."
        )
    heads = ["arm", "axes", "points tried", "chosen", f"valid {selection.metric}"]
    return [
        note(_text(selection)),
        *box([*heads, "at the edge"], rows, text=(0, 1, 3, 5)),
        *(note(one, "note") for one in notes),
    ]


def _text(selection: Selection) -> str:
    """Return how the arms were tuned, in sentences."""
    sentence = selection.sentence
    where = (
        "The settings come from an earlier study and were not tuned anew on these data."
        if selection.source
        else f"{TABLE} holds every point."
    )
    return (
        f"{sentence[0].upper()}{sentence[1:]}. Each arm has the values with the best "
        f"mean {selection.metric} on validation. The runs on validation did not use "
        f"the test split; the chosen points were tested with other seeds, "
        f"{_list(selection.seeds)}. {where}"
    )


def _axes(one: ArmChoice) -> str:
    """The axes of an arm and their values."""
    return "; ".join(f"{k}: {', '.join(v)}" for k, v in one.axes.items()) or "none"


def _tried(selection: Selection, one: ArmChoice) -> str:
    """The number of points that an arm tried, of how many, and the failed."""
    runs = len(selection.tune_seeds)
    failed = sum(len(trial.values) < runs for trial in one.trials)
    number = f"{len(one.trials)} of {grid_size(one.axes)}"
    return f"{number}, {failed} failed" if failed else number


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _winner(one: ArmChoice) -> str:
    """The chosen point as key=value, or the reason for none."""
    if one.chosen is None:
        return "nothing: no point was finished by all its runs"
    point = one.trials[one.chosen].point
    return " ".join(f"{k}={v}" for k, v in point.items()) or "nothing to tune"


def _mean(one: ArmChoice) -> str:
    """Return `mean ± sd` of the chosen point on validation."""
    if one.chosen is None:
        return "-"
    trial = one.trials[one.chosen]
    spread = "" if trial.sd is None else f" ± {trial.sd:.4f}"
    return f"{trial.mean:.4f}{spread}"
