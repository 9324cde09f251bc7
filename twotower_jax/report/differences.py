"""The parts of the report about differences: to the base, and to the controls."""

from collections.abc import Sequence

import polars as pl

from twotower_jax.report.page import box, note
from twotower_jax.study.controls import Control
from twotower_jax.study.load import Study
from twotower_jax.study.permutation import FLIPS
from twotower_jax.study.tables import difference_cells, heading, interval, interval_note
from twotower_jax.study.verdicts import SEEDS, TOO_FEW, UNTUNED, percent

# Headings of a comparison in tables, and their meanings below the first table.
COMPARED = ("difference", "95 % interval", "95 %, all arms", "p Holm")
COMPARED += ("smallest visible", "seeds x queries", "verdict")


def terms(study: Study) -> dict[str, str]:
    """The meanings of the headings and of the verdicts.

    Args:
      study: the study, for its margin.

    Returns:
      {heading or verdict: meaning}.
    """
    margin = percent(study.margin)
    return {
        "difference": "Mean of the arm minus mean of the arm that it is compared to, "
        "over the seeds and queries that both have.",
        "95 % interval": "Of this difference alone, over further seeds and queries: "
        "queries are resampled, seeds enter by a t model.",
        "95 %, all arms": "Intervals that cover all differences of the column together "
        "in 95 % of studies (Bonferroni). With one difference, the same.",
        "p Holm": f"The p value of {FLIPS + 1:,} sign flips over queries (minimal p "
        f"{1 / (FLIPS + 1):.0e} for one seed; seeds enter by a t model), after Holm's "
        "correction over the arms.",
        "smallest visible": "The smallest true difference that these runs would detect "
        "with probability 0.8, beside the other arms (noncentral t).",
        "better, worse": "p Holm is below 0.05.",
        "equivalent": f"The 90 % interval of the difference lies within {margin} of "
        "the mean that it is compared to: two one-sided tests at 5 %, for this "
        "difference alone. A better or worse arm may lie within the margin too.",
        "cannot tell": "Neither.",
        TOO_FEW: f"Better, worse and equivalent need {SEEDS} seeds of both arms.",
        UNTUNED: "The two arms were not tuned alike, so they have no verdict.",
    }


def controls_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the arms against their controls, with the keys in which they differ.

    Args:
      study: the study.
      order: names of the arms by rank.

    Returns:
      Lines of HTML; none without arms that may have a control.
    """
    controls = [study.controls[arm] for arm in order if arm in study.controls]
    if not controls:
        return []
    compared = difference_cells(study.controlled, study.metric, order)
    cells = {arm: rest for arm, *rest in compared}
    ninety = {
        row["arm"]: interval(row, "_90")
        for row in study.controlled.filter(pl.col("metric") == study.metric).rows(
            named=True
        )
    }
    rows = [
        _control_row(one, cells.get(one.arm), ninety.get(one.arm, "-"))
        for one in controls
    ]
    heads = ["arm", "control", "differs in", *COMPARED[:3], "90 % interval"]
    heads += COMPARED[3:]
    text = (
        "The control of an arm is another arm that differs in one choice: their "
        f"difference in {study.metric} shows the effect of that choice. Keys without "
        "an effect do not count. The 90 % interval decides whether two arms are "
        "equivalent."
    )
    lost = interval_note(study.controlled, study.metric, "its control")
    return [
        "<h2>Controls</h2>",
        note(text),
        *box(heads, rows, text=(0, 1, 2, len(heads) - 1), wrap=True),
        *([note(lost, "note")] if lost else []),
    ]


def _control_row(control: Control, cells: list[str] | None, ninety: str) -> list[str]:
    """Return the cells of one arm in the table of the controls."""
    if control.control is None or cells is None:
        return [control.arm, "none", _nearest(control), *["-"] * 7, "no control"]
    return [
        *(control.arm, control.control, control.contrast.text),
        *(*cells[:3], ninety, *cells[3:]),
    ]


def _nearest(control: Control) -> str:
    """Return the differences to the nearest arm of one without a control."""
    if control.nearest is None:
        return "-"
    choices = control.contrast.choices
    return f"{choices} choices from {control.nearest}: {control.contrast.text}"


def other_differences(
    study: Study, order: Sequence[str], shown: Sequence[str]
) -> list[str]:
    """HTML of the differences to the base in other metrics than the primary one.

    Args:
      study: the study.
      order: names of the arms by rank.
      shown: the metrics; those without values per query are left out.

    Returns:
      Lines of HTML.
    """
    comparison = study.comparison
    tested = comparison.filter(pl.col("low").is_not_null())
    paired = [name for name in shown if name in set(tested["metric"])]
    if not paired:
        return []
    cells = [difference_cells(comparison, metric, order) for metric in paired]
    ranks = {arm: str(rank) for rank, arm in enumerate(order, start=1)}
    rows = [
        [ranks[ones[0][0]], ones[0][0], *(f"{c[1]} ({c[3]}) {c[-1]}" for c in ones)]
        for ones in zip(*cells, strict=True)
    ]
    text = (
        f"Differences to the base arm, {study.base}, with 95 % intervals for all arms "
        "together."
    )
    return [
        note(text),
        *box(["#", "arm", *map(heading, paired)], rows, text=(1,), wrap=True),
    ]
