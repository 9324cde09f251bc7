"""The report of a study: one HTML file without network or script.

Everything that is written depends on the runs alone, so that writing the report
twice gives the same bytes.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from twotower_jax.errors import InputError
from twotower_jax.evaluation.metrics import BUCKETS
from twotower_jax.report.canvas import Drawing, write_figures
from twotower_jax.report.figures import study_figures
from twotower_jax.report.page import STYLE, box
from twotower_jax.report.selected import selection_section
from twotower_jax.study.arms import write_study, write_whole
from twotower_jax.study.comparison import RELEVANT, write_comparison
from twotower_jax.study.description import write_description
from twotower_jax.study.load import Study
from twotower_jax.study.naming import differing_keys, flatten, name_arms
from twotower_jax.study.runs import Runs
from twotower_jax.study.tables import (
    arm_cells,
    difference_cells,
    heading,
    interval_note,
    main_split,
    rank_arms,
    shown_metrics,
)


def write_report(study: Study, out: str | Path | None = None) -> Path:
    """Write study.json, study.csv, comparison.csv, figures and report.html.

    Args:
      study: what `load.load_study` returns.
      out: the folder of the report, made if there is none; the first folder of the
        runs by default.
    Returns:
      The path of report.html.
    Raises:
      InputError: when `out` is a file.
    """
    folder = study.runs.folders[0] if out is None else Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder for the report")
    figures = study_figures(study)
    folder.mkdir(parents=True, exist_ok=True)
    write_description(study.description, folder)
    write_study(study.table, folder)
    write_comparison(study.comparison, folder)
    write_figures(figures, folder)
    title = folder.resolve().name
    order = rank_arms(study.table, study.metric)
    body = [
        f"<h1>Study {escape(title)}</h1>",
        *_asked(study),
        *_arms(study, order),
        *_figures(figures),
        *_metrics(study, order),
        *selection_section(study.runs, study.table),
        *_differences(study.runs, order),
        *_took(study, order),
        *_skipped(study.runs),
    ]
    page = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Study {escape(title)}</title>\n<style>{STYLE}</style>",
        "</head>\n<body>",
        *body,
        "</body>\n</html>\n",
    ]
    return write_whole(folder / "report.html", "\n".join(page))


def _asked(study: Study) -> list[str]:
    """Return the question of the study and where it comes from."""
    asked, lines = study.description, []
    if asked.question:
        lines.append(f'<p class="question">{escape(asked.question)}</p>')
    if asked.source:
        lines.append(f'<p class="soft">Source: {escape(asked.source)}</p>')
    if study.missing_base:
        lines.append(f'<p class="note">{escape(study.missing_base)}</p>')
    return lines


def _took(study: Study, order: Sequence[str]) -> list[str]:
    """Return what was run, on what, and what it cost: in all and by arm."""
    manifests = [run.manifest for run in study.runs.finished]
    once = study.table.unique("run", maintain_order=True)
    versions: dict[str, list[str]] = {}
    for manifest in manifests:
        found = manifest.get("versions")
        for name, version in found.items() if isinstance(found, dict) else ():
            versions.setdefault(str(name), []).append(str(version))
    seeds = once["seed"].n_unique()
    runs = f"{len(once)} finished: {len(order)} arms, {seeds} seeds"
    facts = {
        "Runs": f"{runs}; {len(study.runs.skipped)} folders skipped",
        "Cost": f"{once['seconds'].sum():,.1f} seconds, {once['examples'].sum():,.0f} "
        "examples, all runs together",
        "Device": _distinct(str(m.get("device", "unknown")) for m in manifests),
        "Data": _distinct(_source(run.config) for run in study.runs.finished),
        "Data fingerprint": manifests[0]["data_fingerprint"],
        "Versions": ", ".join(f"{k} {_distinct(v)}" for k, v in versions.items())
        or "unknown",
    }
    costs = {arm: once.filter(pl.col("arm") == arm) for arm in order}
    rows = [
        [
            str(rank),
            arm,
            str(len(cost)),
            f"{cost['seconds'].sum():,.1f}",
            f"{cost['examples'].sum():,.0f}",
            "-" if (rate := cost["examples_per_second"].mean()) is None else _int(rate),
        ]
        for rank, (arm, cost) in enumerate(costs.items(), start=1)
    ]
    heads = ["#", "arm", "runs", "seconds", "examples", "examples/s"]
    return [
        "<h2>What it took</h2>",
        "<dl>",
        *(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()),
        "</dl>",
        '<p class="soft">All runs of an arm together; examples are steps times the '
        "batch size, examples/s is the mean over runs.</p>",
        *box(heads, rows, text=(1,)),
    ]


def _source(config: dict[str, Any]) -> str:
    """Return the name of the data of a run."""
    data = config.get("data")
    return str(data.get("source", "unknown")) if isinstance(data, dict) else "unknown"


def _int(value: Any) -> str:
    return f"{value:,.0f}"


def _distinct(values: Iterable[str]) -> str:
    """Return the one value of all runs, or each of them."""
    return " or ".join(sorted(set(values)))


def _arms(study: Study, order: Sequence[str]) -> list[str]:
    """Return the table of the arms: primary metric, difference to the base, cost."""
    primary, table = study.metric, study.table
    compared = difference_cells(study.comparison, primary, order)
    differences = {arm: cells for arm, *cells in compared}
    blank = ["base", *["-"] * 5] if compared else []
    rows = arm_cells(table, primary, [primary, "seconds", "examples"])
    body = [
        [str(rank), arm, str(len(seeds)), mean, *differences.get(arm, blank), *costs]
        for rank, (arm, seeds, (mean, *costs)) in enumerate(rows, start=1)
    ]
    heads = ["#", "arm", "seeds", primary]
    if compared:
        heads += ["difference", "95 % interval", "p Holm", "smallest visible"]
        heads += ["seeds x queries", "verdict"]
    lonely = [arm for arm, seeds, _ in rows if len(seeds) == 1]
    single = (
        f"One seed is never a result: {len(lonely)} of {len(rows)} arms have a single "
        f"seed ({', '.join(lonely)}). Run further seeds before comparing them."
    )
    notes = [single] if lonely else []
    if compared and (note := interval_note(study.comparison, primary)):
        notes.append(note)
    caption = (
        f"Mean ± standard deviation over seeds on the {main_split(table)} split, "
        f"ordered by {primary}; seconds and examples are of one run."
    )
    if compared:
        caption += (
            f" Difference to the base arm, {study.base}, paired by seed and query; p "
            "by flips of sign, Holm over the arms. Better and worse: p below 0.05. No "
            f"difference seen: the interval holds 0, and one of {RELEVANT:.0%} of the "
            "base's mean would have been seen 8 times of 10 beside the other arms "
            "(smallest visible). Cannot tell: not so, or there is one seed."
        )
        if (study.comparison["seeds"] == 2).any():
            caption += (
                " Two seeds are few: where they differ much, an interval may cover 89 "
                "of 100 differences instead of 95; give three or more."
            )
    return [
        "<h2>Arms</h2>",
        f'<p class="soft">{escape(caption)}</p>',
        *box([*heads, "seconds", "examples"], body, text=(1, 9) if compared else (1,)),
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
    ]


def _metrics(study: Study, order: Sequence[str]) -> list[str]:
    """Return the other metrics of the arms, and their differences to the base."""
    primary, comparison = study.metric, study.comparison
    shown = [name for name in shown_metrics(study.table, primary) if name != primary]
    if not shown:
        return []
    means = [
        [str(rank), arm, *cells]
        for rank, (arm, _, cells) in enumerate(
            arm_cells(study.table, primary, shown), start=1
        )
    ]
    sliced = any(name.endswith(tuple(f"/{part}" for part in BUCKETS)) for name in shown)
    caption = "Mean ± standard deviation over seeds." + (
        " Head, mid and tail are by popularity of the item." if sliced else ""
    )
    lines = [
        "<h2>Other metrics</h2>",
        f'<p class="soft">{escape(caption)}</p>',
        *box(["#", "arm", *map(heading, shown)], means, text=(1,)),
    ]
    tested = comparison.filter(pl.col("low").is_not_null())
    paired = [name for name in shown if name in set(tested["metric"])]
    if not paired:
        return lines
    cells = [difference_cells(comparison, metric, order) for metric in paired]
    ranks = {arm: str(rank) for rank, arm in enumerate(order, start=1)}
    more = [
        [ranks[ones[0][0]], ones[0][0], *(f"{c[1]} ({c[2]}) {c[-1]}" for c in ones)]
        for ones in zip(*cells, strict=True)
    ]
    text = f"Difference to the base arm, {study.base}, with its 95 % interval."
    return [
        *lines,
        f'<p class="soft">{escape(text)}</p>',
        *box(["#", "arm", *map(heading, paired)], more, text=(1,)),
    ]


def _figures(figures: dict[str, Drawing]) -> list[str]:
    """Return the figures inline, beside each other where there is room."""
    inner = [
        f'<figure><div role="img" aria-label="{escape(one.title)}">{one.svg}</div>'
        f'<figcaption class="soft">{escape(one.caption)}</figcaption></figure>'
        for one in figures.values()
    ]
    return [
        "<h2>Figures</h2>",
        '<p class="soft">Arms are numbered as above. Each figure is also a file, '
        "figure_*.svg, beside this report.</p>",
        '<div class="figures">',
        *inner,
        "</div>",
    ]


def _differences(runs: Runs, order: Sequence[str]) -> list[str]:
    """Return the table of the keys that differ between the arms."""
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
    return [
        "<h2>Configuration</h2>",
        f'<p class="soft">Keys that differ between the arms. The other {shared} are '
        "equal in all runs; config.yaml in the folder of a run holds them.</p>",
        *box(["#", "arm", *keys], rows, text=range(1, len(keys) + 2)),
    ]


def _skipped(runs: Runs) -> list[str]:
    """Return the list of folders that are no finished run."""
    items = [
        f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in runs.skipped
    ]
    count = len(items)
    return (
        [f"<h2>Skipped folders ({count})</h2>", "<ul>", *items, "</ul>"]
        if items
        else []
    )
