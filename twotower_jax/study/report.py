"""The report of a study: one HTML file without network or script.

Everything that is written depends on the runs alone, so that writing the report
twice gives the same bytes.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import polars as pl

from twotower_jax.errors import InputError
from twotower_jax.study.arms import COSTS, write_study, write_whole
from twotower_jax.study.comparison import RELEVANT, write_comparison
from twotower_jax.study.description import write_description
from twotower_jax.study.figures import study_figures, write_figures
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

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --page: #ffffff; --box: #f6f8fa; --note: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1;
  --line: #3d444d; --page: #0d1117; --box: #151b23; --note: #d29922; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb;
  --page: #fff; --box: #fff; --note: #7a5200; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 84rem; color: var(--ink);
  background: var(--page); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; break-after: avoid; }
p, li, dd { overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: .9rem; }
.note { border-left: 4px solid var(--note); padding: .4rem .8rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; }
.box { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .5rem; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; background: var(--box); }
tr + tr td, tbody tr td, tbody tr th { border-top: 1px solid var(--line); }
.text { text-align: left; }
td.arm { white-space: normal; min-width: 12rem; overflow-wrap: break-word; }
.figures { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
figure { margin: 0; break-inside: avoid; }
figure svg { width: 100%; max-width: 36rem; height: auto; display: block; }
figure svg text { font-family: inherit !important; }
@media print { html, body { font-size: 11px; } body { max-width: none; padding: 0; }
  .box { overflow: visible; border: 0; } table { font-size: 9px; }
  th, td { padding: .2rem .3rem; white-space: normal; } tr { break-inside: avoid; }
  .figures { grid-template-columns: 1fr 1fr; } }
"""


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
    runs, table, comparison = study.runs, study.table, study.comparison
    primary = study.metric
    folder = runs.folders[0] if out is None else Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder for the report")
    folder.mkdir(parents=True, exist_ok=True)
    figures = study_figures(table, primary, comparison)
    write_description(study.asked, folder)
    write_study(table, folder)
    write_comparison(comparison, folder)
    write_figures(figures, folder)
    title = folder.resolve().name
    order = rank_arms(table, primary)
    body = [
        f"<h1>Study {escape(title)}</h1>",
        *_asked(study),
        *_setting(runs, table),
        *_arms(table, primary),
        *_compared(comparison, primary, order),
        *_figures(figures),
        *_differences(runs, order),
        *_skipped(runs),
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
    asked, lines = study.asked, []
    if asked.question:
        lines.append(f'<p class="question">{escape(asked.question)}</p>')
    if asked.source:
        lines.append(f'<p class="soft">Source: {escape(asked.source)}</p>')
    if study.missing_base:
        lines.append(f'<p class="note">{escape(study.missing_base)}</p>')
    return lines


def _setting(runs: Runs, table: pl.DataFrame) -> list[str]:
    """Return what was run, on what, and what it cost."""
    manifests = [run.manifest for run in runs.finished]
    once = table.unique("run", maintain_order=True)
    versions: dict[str, list[str]] = {}
    for manifest in manifests:
        found = manifest.get("versions")
        for name, version in found.items() if isinstance(found, dict) else ():
            versions.setdefault(str(name), []).append(str(version))
    arms, seeds = table["arm"].n_unique(), table["seed"].n_unique()
    facts = {
        "Data fingerprint": manifests[0]["data_fingerprint"],
        "Runs": f"{len(runs.finished)} finished: {arms} arms, {seeds} seeds",
        "Device": _distinct(str(m.get("device", "unknown")) for m in manifests),
        "Versions": ", ".join(f"{k} {_distinct(v)}" for k, v in versions.items())
        or "unknown",
        "Cost": f"{once['seconds'].sum():,.1f} seconds, all runs together",
    }
    return [
        "<dl>",
        *(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()),
        "</dl>",
    ]


def _distinct(values: Iterable[str]) -> str:
    """Return the one value of all runs, or each of them."""
    return " or ".join(sorted(set(values)))


def _arms(table: pl.DataFrame, primary: str) -> list[str]:
    """Return the table of the arms, and the warning where an arm has one seed."""
    columns = [*shown_metrics(table, primary), *COSTS]
    rows = arm_cells(table, primary, columns)
    heads = ["#", "arm", "seeds", *map(heading, columns)]
    body = [
        [str(rank), arm, str(len(seeds)), *cells]
        for rank, (arm, seeds, cells) in enumerate(rows, start=1)
    ]
    lonely = [arm for arm, seeds, _ in rows if len(seeds) == 1]
    note = (
        f"One seed is never a result: {len(lonely)} of {len(rows)} arms have a single "
        f"seed ({', '.join(lonely)}). Run further seeds before comparing them."
    )
    sliced = any("/" in column for column in columns)
    caption = (
        f"Mean ± standard deviation over seeds on the {main_split(table)} split, "
        f"ordered by {primary}."
        + (
            " Head, mid and tail are recall by popularity of the item."
            if sliced
            else ""
        )
    )
    return [
        "<h2>Arms</h2>",
        f'<p class="soft">{escape(caption)}</p>',
        *_box(heads, body, text=(1,)),
        *([f'<p class="note">{escape(note)}</p>'] if lonely else []),
    ]


def _compared(
    comparison: pl.DataFrame, primary: str, order: Sequence[str]
) -> list[str]:
    """Return the differences to the base arm: the primary metric, then the others."""
    if comparison.is_empty():
        return []
    base = comparison["base"][0]
    first = difference_cells(comparison, primary, order)
    ranks = {arm: str(rank) for rank, arm in enumerate(order, start=1)}
    rows = [[ranks[arm], arm, *cells] for arm, *cells in first]
    heads = ["difference", "95 % interval", "p Holm", "smallest visible"]
    heads += ["seeds x queries", "verdict"]
    tested = comparison.filter(pl.col("low").is_not_null())
    metrics = tested["metric"].unique(maintain_order=True).to_list()
    others = [metric for metric in metrics if metric != primary]
    cells = [difference_cells(comparison, metric, order) for metric in others]
    more = [
        [ranks[arm], arm, *(f"{one[1]} ({one[2]}) {one[-1]}" for one in ones)]
        for arm, *ones in zip([row[0] for row in first], *cells, strict=True)
    ]
    caption = (
        f"Difference in {primary} to the base arm, {base}, paired by seed and query; "
        "p by flips of sign, Holm over the arms. Better and worse: p below 0.05. No "
        f"difference seen: one of {RELEVANT:.0%} of the base's mean would have been "
        "seen 8 times of 10 (smallest visible). Cannot tell: it would not, or there is "
        "one seed."
    )
    note = interval_note(comparison, primary)
    return [
        "<h2>Against the base arm</h2>",
        f'<p class="soft">{escape(caption)}</p>',
        *_box(["#", "arm", *heads], rows, text=(1, 7)),
        *([f'<p class="note">{escape(note)}</p>'] if note else []),
        *(['<p class="soft">The other metrics:</p>'] if others else []),
        *(_box(["#", "arm", *map(heading, others)], more, (1,)) if others else []),
    ]


def _box(
    heads: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int]
) -> list[str]:
    """Return a table that scrolls in its own box; columns `text` align left."""
    kinds = [' class="text"' if i in text else "" for i in range(len(heads))]
    cells = ['"text arm"' if i == text[0] else '"text"' for i in range(len(heads))]
    opened = [
        f"<td class={cell}>" if kind else "<td>"
        for kind, cell in zip(kinds, cells, strict=True)
    ]
    lines = ['<div class="box" tabindex="0"><table>', "<thead><tr>"]
    lines += [
        f"<th{kind}>{escape(h)}</th>" for kind, h in zip(kinds, heads, strict=True)
    ]
    lines.append("</tr></thead>\n<tbody>")
    for row in rows:
        inner = (f"{td}{escape(v)}</td>" for td, v in zip(opened, row, strict=True))
        lines.append(f"<tr>{''.join(inner)}</tr>")
    return [*lines, "</tbody></table></div>"]


def _figures(figures: dict[str, str]) -> list[str]:
    """Return the figures inline, beside each other where there is room."""
    inner = [
        f'<figure role="img" aria-label="{escape(name)}">{svg}</figure>'
        for name, svg in figures.items()
    ]
    return [
        "<h2>Figures</h2>",
        '<p class="soft">A faint mark is a seed, a strong one the mean of the arm, a '
        "bar one standard deviation on each side; for differences to the base, the "
        "ring, it is the 95 % interval. Arms are numbered as above.</p>",
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
        *_box(["#", "arm", *keys], rows, text=range(1, len(keys) + 2)),
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
