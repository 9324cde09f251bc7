"""The sections of the report with a row per arm: arms, metrics, configuration, cost."""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from twotower_jax.evaluation.metrics import BUCKETS
from twotower_jax.report.differences import TESTS, other_differences, terms
from twotower_jax.report.page import box, definitions, note
from twotower_jax.study.cautions import arm_marks
from twotower_jax.study.load import Study
from twotower_jax.study.naming import differing_keys, flatten, name_arms
from twotower_jax.study.runs import Run, Runs
from twotower_jax.study.tables import arm_cells, heading, main_split
from twotower_jax.study.verdicts import difference_cells, interval_note

MARKS = {
    "baseline": "Scores from the clicks alone, without training.",
    "oracle": "The full softmax: every item of the catalogue is a negative.",
    "still learning": "In half of the runs or more, the last validation is the best.",
    "at its limit": "The last step came before the patience ended the training.",
}


def arms_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the first table: the primary metric and the difference to the base."""
    primary = study.metric
    compared = difference_cells(study.comparison, primary, order)
    cells = {arm: (gap, ends, word) for arm, word, gap, ends, *_ in compared}
    blank = ["-", "-", "base"] if compared else []
    rows = [
        [arm, mean, *cells.get(arm, blank), str(len(seeds))]
        for arm, seeds, (mean,) in arm_cells(study.table, primary, [primary])
    ]
    heads = ["difference", "interval", "verdict"] if compared else []
    caption = (
        f"Mean ± standard deviation over seeds on the {main_split(study.table)} split, "
        f"ordered by {primary}."
    )
    if compared:
        caption += f" Differences are to the base arm. {study.base_rule.sentence}"
    return [
        "<h2>Arms</h2>",
        *box(
            ["arm", primary, *heads, "seeds"], rows, text=(0, 4) if compared else (0,)
        ),
        note(caption),
        *_interval_notes(study),
    ]


def detail_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the tests and the costs of the arms, and of the words of all tables."""
    compared = difference_cells(study.comparison, study.metric, order)
    tests = {arm: cells for arm, _, _, _, *cells in compared}
    blank = ["-"] * len(TESTS) if compared else []
    marks = arm_marks(study, order)
    marked = any(marks.values())
    rows = [
        [str(rank), arm, *tests.get(arm, blank), *costs]
        + ([marks[arm] or "-"] if marked else [])
        for rank, (arm, _, costs) in enumerate(
            arm_cells(study.table, study.metric, ["seconds", "examples"]), start=1
        )
    ]
    heads = ["#", "arm", *(TESTS if compared else ()), "seconds", "examples"]
    heads += ["mark"] if marked else []
    text = [i for i, head in enumerate(heads) if head in ("arm", "mark")]
    return [
        "<h2>Tests and cost of the arms</h2>",
        *box(heads, rows, text=text),
        note("Seconds and examples are those of one run."),
        *(definitions(terms(study), "terms") if compared else []),
        *(definitions(MARKS, "terms") if marked else []),
    ]


def _interval_notes(study: Study) -> list[str]:
    """The note about missing intervals, if any."""
    if study.comparison.is_empty():
        return []
    text = interval_note(study.comparison, study.metric)
    return [note(text, "note")] if text else []


def metrics_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the other metrics of the arms, and of their differences to the base."""
    primary = study.metric
    shown = [name for name in study.shown if name != primary]
    if not shown:
        return []
    means = [
        [str(rank), arm, *cells]
        for rank, (arm, _, cells) in enumerate(
            arm_cells(study.table, primary, shown), start=1
        )
    ]
    caption = "Mean ± standard deviation over seeds."
    if any(name.rpartition("/")[2] in BUCKETS for name in shown):
        caption += " Head, mid and tail are groups of items by popularity."
    return [
        "<h2>Other metrics</h2>",
        note(caption),
        *box(["#", "arm", *map(heading, shown)], means, text=(1,)),
        *other_differences(study, order, shown),
    ]


def configuration_section(runs: Runs, order: Sequence[str]) -> list[str]:
    """HTML of the table of the keys that differ between the arms."""
    configs = [run.config for run in runs.finished]
    keys = differing_keys(configs)
    if not keys:
        return ["<h2>Configuration</h2>", "<p>All runs share one configuration.</p>"]
    flats = dict(zip(name_arms(configs), map(flatten, configs), strict=True))
    rows = [
        [str(rank), arm, *(flats[arm].get(key, "unset") for key in keys)]
        for rank, arm in enumerate(order, start=1)
    ]
    shared = len({key for flat in flats.values() for key in flat}) - len(keys)
    text = (
        f"Keys that differ between the arms. The other {shared} keys are equal in all "
        "runs; config.yaml in the folder of each run has them."
    )
    return [
        "<h2>Configuration</h2>",
        note(text),
        *box(["#", "arm", *keys], rows, text=range(1, len(keys) + 2)),
    ]


def cost_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of runs, time, device, data and versions, in all and per arm."""
    runs = study.table.unique("run", maintain_order=True)
    costs = {arm: runs.filter(pl.col("arm") == arm) for arm in order}
    rows = [
        [
            str(rank),
            arm,
            str(len(cost)),
            f"{cost['seconds'].sum():,.1f}",
            f"{cost['examples'].sum():,.0f}",
            _count(cost["examples_per_second"].mean()),
        ]
        for rank, (arm, cost) in enumerate(costs.items(), start=1)
    ]
    heads = ["#", "arm", "runs", "seconds", "examples", "examples/s"]
    text = (
        "All runs of an arm together. Examples are steps times the batch size; "
        "examples/s is the mean over runs."
    )
    return [
        "<h2>Cost</h2>",
        *definitions(_facts(study, runs, len(order))),
        note(text),
        *box(heads, rows, text=(1,)),
    ]


def stages_section(runs: Runs) -> list[str]:
    """HTML of the true click rate of each stage of a simulated world."""
    stages = next((s for run in runs.finished if (s := run.result.get("stages"))), {})
    if not stages:
        return []
    text = (
        "True click rate of the items by the furthest stage that they reached, and the "
        "AUC with which the truth tells the clicks of a request from them. At 0.5 the "
        "items of a stage are as good as the clicks."
    )
    rows = [
        [
            stage,
            f"{one['rows']:,}",
            f"{one['click_rate']:.3f}",
            f"{one['auc']:.3f}" if "auc" in one else "-",
        ]
        for stage, one in stages.items()
    ]
    heads = ["furthest stage", "rows", "true click rate", "AUC of clicks"]
    return ["<h2>Stages of the funnel</h2>", note(text), *box(heads, rows, text=(0,))]


def _facts(study: Study, runs: pl.DataFrame, arms: int) -> dict[str, str]:
    """The facts of all runs together by their names."""
    finished, skipped = study.runs.finished, study.runs.skipped
    manifests = [run.manifest for run in finished]
    versions: dict[str, list[str]] = {}
    for manifest in manifests:
        packages = manifest.get("versions")
        for name, version in packages.items() if isinstance(packages, dict) else ():
            versions.setdefault(str(name), []).append(str(version))
    return {
        "Runs": f"{len(runs)} finished: {arms} arms, {runs['seed'].n_unique()} seeds; "
        f"{len(skipped)} folders skipped",
        "Total": f"{runs['seconds'].sum():,.1f} seconds, {runs['examples'].sum():,.0f} "
        "examples",
        "Device": _distinct(str(m.get("device", "unknown")) for m in manifests),
        "Processor": _distinct(str(m.get("processor", "unknown")) for m in manifests),
        "Data": _distinct(_source(run.config) for run in finished),
        "Data fingerprint": manifests[0]["data_fingerprint"],
        "L2 penalty": _distinct(_penalty(run) for run in finished),
        "Versions": ", ".join(f"{k} {_distinct(v)}" for k, v in versions.items())
        or "unknown",
    }


def _penalty(run: Run) -> str:
    """The rows that the L2 penalty of a run covers."""
    optimizer = run.config.get("optimizer")
    if not isinstance(optimizer, dict) or not optimizer.get("l2"):
        return "none"
    form = run.manifest.get("l2_penalty")
    return str(form or "every row of the batch, negatives too (version 0.1)")


def _source(config: dict[str, Any]) -> str:
    """The name of the data of a run."""
    data = config.get("data")
    return str(data.get("source", "unknown")) if isinstance(data, dict) else "unknown"


def _count(value: Any) -> str:
    """A number with thousands separators, a dash without a number."""
    return "-" if value is None else f"{value:,.0f}"


def _distinct(values: Iterable[str]) -> str:
    """The one value of all runs, or each of them."""
    return " or ".join(sorted(set(values)))
