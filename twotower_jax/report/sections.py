"""The sections of the report with a row per arm: arms, metrics, configuration, cost."""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from twotower_jax.evaluation.metrics import BUCKETS
from twotower_jax.report.page import box, definitions, note
from twotower_jax.study.arms import idle_sources
from twotower_jax.study.comparison import RELEVANT
from twotower_jax.study.load import Study
from twotower_jax.study.naming import differing_keys, flatten, name_arms
from twotower_jax.study.runs import Run, Runs
from twotower_jax.study.tables import (
    arm_cells,
    difference_cells,
    heading,
    interval_note,
    main_split,
    shown_metrics,
)

# Headings of the comparison in the table of the arms, and their meanings below it.
COMPARED = ("difference", "95 % interval", "p Holm", "smallest visible")
COMPARED += ("seeds x queries", "verdict")
TERMS = {
    "difference": "Mean of the arm minus mean of the base arm, over the seeds and "
    "queries that both have.",
    "p Holm": "The p value of random sign flips over queries, after Holm's correction "
    "over the arms.",
    "smallest visible": "The smallest true difference that these runs would detect "
    "with probability 0.8, beside the other arms.",
    "better, worse": "p Holm is below 0.05.",
    "no difference seen": "The interval contains 0, and the smallest visible "
    f"difference is at most {RELEVANT:.0%} of the base's mean.",
    "cannot tell": "None of these, or only one shared seed.",
}


def arms_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the first table: primary metric, difference to the base, cost.

    Args:
      study: the study.
      order: names of the arms by rank.

    Returns:
      Lines of HTML.
    """
    primary, table = study.metric, study.table
    compared = difference_cells(study.comparison, primary, order)
    differences = {arm: cells for arm, *cells in compared}
    blank = ["base", *["-"] * 5] if compared else []
    rows = arm_cells(table, primary, [primary, "seconds", "examples"])
    body = [
        [str(rank), arm, str(len(seeds)), mean, *differences.get(arm, blank), *costs]
        for rank, (arm, seeds, (mean, *costs)) in enumerate(rows, start=1)
    ]
    heads = ["#", "arm", "seeds", primary, *(COMPARED if compared else ())]
    caption = (
        f"Mean ± standard deviation over seeds on the {main_split(table)} split, "
        f"ordered by {primary}. Seconds and examples are those of one run."
    )
    if compared:
        caption += f" Differences are to the base arm, {study.base}."
    return [
        "<h2>Arms</h2>",
        note(caption),
        *box([*heads, "seconds", "examples"], body, text=(1, 9) if compared else (1,)),
        *(note(text, "note") for text in _warnings(study, order)),
        *(definitions(TERMS, "terms") if compared else []),
    ]


def _warnings(study: Study, order: Sequence[str]) -> list[str]:
    """Return the texts about too few seeds, idle sources and missing intervals."""
    counts = study.table.group_by("arm").agg(pl.col("seed").n_unique())
    seeds = dict(counts.iter_rows())
    single = [arm for arm in order if seeds[arm] == 1]
    warnings = []
    if single:
        warnings.append(
            f"One seed is never a result: {len(single)} of {len(seeds)} arms have a "
            f"single seed ({', '.join(single)}). Run more seeds before you compare "
            "them."
        )
    if idle := idle_sources(study.runs):
        warnings.append(
            "The best parameters are from before the first use of a source of "
            f"negatives, which had no effect on them: {', '.join(idle)}. Lower its "
            "warm-up."
        )
    if study.comparison.is_empty():
        return warnings
    if text := interval_note(study.comparison, study.metric):
        warnings.append(text)
    if (study.comparison["seeds"] == 2).any():
        warnings.append(
            "Two seeds are few: if they differ much, an interval may cover 89 of 100 "
            "true differences instead of 95. Run three or more."
        )
    return warnings


def metrics_section(study: Study, order: Sequence[str]) -> list[str]:
    """HTML of the other metrics of the arms, and of their differences to the base.

    Args:
      study: the study.
      order: names of the arms by rank.

    Returns:
      Lines of HTML; none if the runs have no other metrics to show.
    """
    primary = study.metric
    shown = [name for name in shown_metrics(study.table, primary) if name != primary]
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
        *_other_differences(study, order, shown),
    ]


def _other_differences(
    study: Study, order: Sequence[str], shown: Sequence[str]
) -> list[str]:
    """Return the table of differences in the metrics that have values per query."""
    comparison = study.comparison
    tested = comparison.filter(pl.col("low").is_not_null())
    paired = [name for name in shown if name in set(tested["metric"])]
    if not paired:
        return []
    cells = [difference_cells(comparison, metric, order) for metric in paired]
    ranks = {arm: str(rank) for rank, arm in enumerate(order, start=1)}
    rows = [
        [ranks[ones[0][0]], ones[0][0], *(f"{c[1]} ({c[2]}) {c[-1]}" for c in ones)]
        for ones in zip(*cells, strict=True)
    ]
    return [
        note(f"Differences to the base arm, {study.base}, with 95 % intervals."),
        *box(["#", "arm", *map(heading, paired)], rows, text=(1,), wrap=True),
    ]


def configuration_section(runs: Runs, order: Sequence[str]) -> list[str]:
    """HTML of the table of the keys that differ between the arms.

    Args:
      runs: the runs of the study.
      order: names of the arms by rank.

    Returns:
      Lines of HTML.
    """
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
    """HTML of runs, time, device, data and versions, in all and per arm.

    Args:
      study: the study.
      order: names of the arms by rank.

    Returns:
      Lines of HTML.
    """
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


def _facts(study: Study, runs: pl.DataFrame, arms: int) -> dict[str, str]:
    """Return the facts of all runs together by their names."""
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
        "Data": _distinct(_source(run.config) for run in finished),
        "Data fingerprint": manifests[0]["data_fingerprint"],
        "L2 penalty": _distinct(_penalty(run) for run in finished),
        "Versions": ", ".join(f"{k} {_distinct(v)}" for k, v in versions.items())
        or "unknown",
    }


def _penalty(run: Run) -> str:
    """Return the rows that the L2 penalty of a run covers."""
    optimizer = run.config.get("optimizer")
    if not isinstance(optimizer, dict) or not optimizer.get("l2"):
        return "none"
    form = run.manifest.get("l2_penalty")
    return str(form or "every row of the batch, negatives too (version 0.1)")


def _source(config: dict[str, Any]) -> str:
    """Return the name of the data of a run."""
    data = config.get("data")
    return str(data.get("source", "unknown")) if isinstance(data, dict) else "unknown"


def _count(value: Any) -> str:
    """Return a number with thousands separators, a dash without a number."""
    return "-" if value is None else f"{value:,.0f}"


def _distinct(values: Iterable[str]) -> str:
    """Return the one value of all runs, or each of them."""
    return " or ".join(sorted(set(values)))
