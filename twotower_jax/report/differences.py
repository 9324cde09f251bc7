"""The parts of the report about differences: to the base, and to the controls."""

from collections.abc import Sequence
from html import escape

import polars as pl

from twotower_jax.config.convert import all_values, idle_keys
from twotower_jax.evaluation.metrics import larger_is_better, stem
from twotower_jax.report.page import box, note
from twotower_jax.study.comparison import compare_arms
from twotower_jax.study.controls import Control
from twotower_jax.study.load import Study
from twotower_jax.study.naming import flatten, is_baseline
from twotower_jax.study.statistics import FLIPS
from twotower_jax.study.tables import heading, main_split, summary
from twotower_jax.study.trained import trained_arms
from twotower_jax.study.tuning import AT_END, CARRIED, FEW_SEEDS
from twotower_jax.study.verdicts import (
    SEEDS,
    TOO_FEW,
    UNTUNED,
    difference_cells,
    difference_text,
    interval_note,
    percent,
)

# Headings of the test of a difference in the folded tables.
TESTS = ("p Holm", "smallest visible", "seeds x queries")


def terms(study: Study) -> dict[str, str]:
    """The meanings of the headings and of the verdicts."""
    margin = percent(study.margin)
    return {
        "difference": "Mean of the arm minus mean of the arm that it is compared to, "
        "over the seeds and queries that both have.",
        "interval": "The interval that decides the verdict, over further seeds and "
        "queries: queries are resampled, seeds enter by a t model. It covers 95 % at "
        "the level of Holm's test, so that it excludes 0 exactly where p Holm is below "
        "0.05; (90 %) marks the interval of an equivalence.",
        "p Holm": f"The p value of {FLIPS + 1:,} sign flips over queries (minimal p "
        f"{1 / (FLIPS + 1):.0e} for one seed; seeds enter by a t model), or that of "
        "the interval where it is larger, after Holm's correction over the arms.",
        "smallest visible": "The smallest true difference that these runs would detect "
        "with probability 0.8, beside the other arms (noncentral t).",
        "better, worse": "The interval excludes 0: p Holm is below 0.05.",
        "equivalent": f"The 90 % interval of the difference lies within {margin} of "
        "the mean that it is compared to: two one-sided tests at 5 %, for this "
        "difference alone. A better or worse arm may lie within the margin too.",
        "cannot tell": "Neither.",
        TOO_FEW: f"Better, worse and equivalent need {SEEDS} seeds of both arms.",
        UNTUNED: "The two arms were not tuned alike, so they have no verdict.",
        CARRIED: "The settings of an arm were chosen in another study.",
        FEW_SEEDS: "Settings of an arm were chosen among the noise of few seeds.",
        AT_END: "A better value of a tuned number may lie beyond its grid.",
    }


def controls_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the arms against their controls, which differ in one choice."""
    controls = [study.controls[arm] for arm in order if arm in study.controls]
    if not controls:
        return []
    cells = _control_cells(study, order)
    rows = []
    for one in controls:
        word, gap, ends, *tests = cells.get(one.arm, ["no control", "-", "-", "-"])
        control = one.control or "none" if one.arm in cells else "none"
        seeds = tests[-1].partition(" x ")[0]
        rows.append([one.arm, control, gap, ends, word, seeds])
    text = (
        "The control of an arm is another arm that differs in one choice: their "
        f"difference in {study.metric} shows the effect of that choice. Keys without "
        "an effect do not count."
    )
    lost = interval_note(study.controlled, study.metric, "its control")
    heads = ["arm", "control", "difference", "interval", "verdict", "seeds"]
    return [
        "<h2>Controls</h2>",
        *box(heads, rows, text=(0, 1, 4)),
        note(text),
        *([note(lost, "note")] if lost else []),
    ]


def contrasts_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the keys in which the arms differ from their controls, and the tests."""
    controls = [study.controls[arm] for arm in order if arm in study.controls]
    if not controls:
        return []
    cells = _control_cells(study, order)
    rows = []
    for one in controls:
        _, _, _, *tests = cells.get(one.arm, ["-"] * (3 + len(TESTS)))
        named = one.control and one.arm in cells
        text = one.contrast.text if named else _nearest(one)
        rows.append([one.arm, text, *tests])
    heads = ["arm", "differs from its control in", *TESTS]
    return ["<h2>Keys of the controls</h2>", *box(heads, rows, text=(0, 1))]


def _control_cells(study: Study, order: Sequence[str]) -> dict[str, list[str]]:
    """Cells of the difference of each arm to its control."""
    compared = difference_cells(study.controlled, study.metric, order)
    return {arm: cells for arm, *cells in compared}


def baselines_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the best baseline of each slice beside the best arm."""
    kinds = {
        arm: is_baseline(next(iter(runs.values())).config)
        for arm, runs in study.pairing.arms.items()
    }
    rows = []
    for metric in study.shown:
        if stem(metric) != stem(study.metric):
            continue
        means = dict(
            summary(study.table, [metric], main_split(study.table))
            .drop_nulls("mean")
            .select("arm", "mean")
            .iter_rows()
        )
        groups = [[a for a in order if a in means and kinds[a] == k] for k in (0, 1)]
        if not all(groups):
            continue
        best_of = max if larger_is_better(metric) else min
        arm, baseline = (best_of(ones, key=means.__getitem__) for ones in groups)
        pair = compare_arms(study.pairing, [metric], {arm: baseline})
        gap = difference_text(pair.row(0, named=True)) if len(pair) else "-"
        values = f"{means[arm]:.4f}", f"{means[baseline]:.4f}"
        part = metric.partition("/")[2] or "all items"
        rows.append([part, arm, values[0], baseline, values[1], gap])
    if not rows:
        return []
    heads = ["items", "best arm", study.metric, "best baseline", "its value"]
    return [
        "<h2>Best baselines</h2>",
        *box([*heads, "difference"], rows, text=(0, 1, 3)),
        note("The best means of these queries, without a correction for the choice."),
    ]


def _nearest(control: Control) -> str:
    """The differences to the nearest arm of one without a control."""
    if control.nearest is None:
        return "-"
    choices = control.contrast.choices
    return f"{choices} choices from {control.nearest}: {control.contrast.text}"


def other_differences(
    study: Study, order: Sequence[str], shown: Sequence[str]
) -> list[str]:
    """HTML of the differences to the base in other metrics than the primary one."""
    text = (
        f"Verdicts against the base arm, {study.base}, with the difference and the "
        "interval that decides."
    )
    return _difference_table(study.comparison, order, shown, text)


def rival_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the arms against the rival, by metric and slice."""
    if study.rivalled.is_empty():
        return []
    text = (
        f"Verdicts against {study.rival}, with the difference and the interval that "
        "decides."
    )
    table = _difference_table(study.rivalled, order, study.shown, text)
    return [f"<h2>Against {escape(study.rival)}</h2>", *table] if table else []


def _difference_table(
    comparison: pl.DataFrame, order: Sequence[str], shown: Sequence[str], text: str
) -> list[str]:
    """The verdicts of a comparison as a table of arms and metrics."""
    tested = comparison.filter(pl.col("low_verdict").is_not_null())
    paired = [name for name in shown if name in set(tested["metric"])]
    if not paired:
        return []
    cells = [difference_cells(comparison, metric, order) for metric in paired]
    ranks = {arm: str(rank) for rank, arm in enumerate(order, start=1)}
    rows = [
        [ranks[ones[0][0]], ones[0][0], *(f"{c[1]}: {c[2]}, {c[3]}" for c in ones)]
        for ones in zip(*cells, strict=True)
    ]
    return [
        note(text),
        *box(["#", "arm", *map(heading, paired)], rows, text=(1,), long=True),
    ]


COMMON = "loss.temperature"


def common_section(study: Study) -> list[str]:
    """HTML of the arms at each temperature shared with the base or first arm.

    A difference between samples that changes its sign with the temperature of both is
    an interaction, not an effect of the samples.
    """
    groups: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    configs = {
        a: next(iter(ones.values())).config for a, ones in study.pairing.arms.items()
    }
    for arm, config in trained_arms(configs).items():
        idle, values = idle_keys(config), flatten(all_values(config))
        value = values.pop(COMMON, None)
        if value is None:  # a loss of cosines
            continue
        rest = tuple(sorted((k, v) for k, v in values.items() if k not in idle))
        groups.setdefault(rest, {})[value] = arm
    first = next(iter(groups.values()), {})
    base = next((one for one in groups.values() if study.base in one.values()), first)
    rows, order = [], sorted(base, key=float)
    for group in groups.values():
        shared = [value for value in order if value in group]
        if group is base or len(shared) < 2:
            continue
        pairs = {group[value]: base[value] for value in shared}
        compared = {
            row["arm"]: row
            for row in compare_arms(study.pairing, [study.metric], pairs).rows(
                named=True
            )
        }
        cells = {v: compared[group[v]] for v in shared}
        signs = {one["difference"] > 0 for one in cells.values()}
        texts = [difference_text(cells[v]) if v in cells else "-" for v in order]
        rows.append(
            [group[shared[0]], *texts, "same" if len(signs) == 1 else "changes"]
        )
    if not rows:
        return []
    text = (
        f"Differences to {base[order[0]]} at the same {COMMON} for both. A sign that "
        "changes is an interaction of the samples with the temperature."
    )
    heads = ["arm", *(f"at {value}" for value in order), "sign"]
    return [
        "<h2>At common temperatures</h2>",
        note(text),
        *box(heads, rows, text=(0,), long=True),
    ]
