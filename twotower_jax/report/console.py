"""Console output of the commands: a run, a line of a sweep, a study, a data set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twotower_jax.config import LABELS, Config, to_dict
from twotower_jax.evaluation.metrics import BUCKETS, MAIN, of_scope, stem
from twotower_jax.report.beside import (
    baseline_lines,
    last_split,
    metric_text,
    popularity_text,
    training_lines,
)
from twotower_jax.study.answer import answer
from twotower_jax.study.cautions import arm_marks, cautions
from twotower_jax.study.load import Study
from twotower_jax.study.naming import short_key
from twotower_jax.study.runs import Runs
from twotower_jax.study.tables import arm_cells, heading, rank_arms, requested_metrics
from twotower_jax.study.verdicts import difference_cells, interval_note

VERDICT = len("cannot tell")  # of the shortest lines of a verdict
NAME = 24  # least number of characters for the names of arms, if they are longer
# Why a training ended, by `stopped` of its result.
ENDED = {
    "patience": "ended by training.patience",
    "limit": "ended by its limit",
    "pause": "ended by pause: the same command without it goes on",
}
SKIPPED = 5  # number of skipped folders that are listed by name


def print_result(
    console: Console, config: Config, result: dict[str, Any], asked: str | None = None
) -> None:
    """Print the main metrics, time and speed of a run; result.json has all metrics."""
    cutoff = config.training.metric.rsplit("@", 1)[1]
    metrics = of_scope("query", "catalogue", view="run")
    shown = [
        *(f"{MAIN}@{k}" for k in config.evaluation.k),
        *(f"{MAIN}@{cutoff}/{part}" for part in BUCKETS),
        *(f"{name}@{cutoff}" for name in metrics),
        *requested_metrics([to_dict(config)]),
        *([asked] if asked else []),
    ]
    print_metrics(console, result["metrics"], list(dict.fromkeys(shown)))
    rate = result["examples_per_second"]
    speed = f", {rate:,.0f} examples/s" if rate else ""
    steps = f"{result['steps']} steps in {result['seconds']:.1f} s{speed}"
    reason = ENDED.get(result.get("stopped") or "")
    if length := result.get("length"):
        steps += f"; their number is the best of {length['run']}, on validation"
    elif reason:
        steps += f"; the best is step {result['best_step']}, {reason}"
    console.print(steps, highlight=False, soft_wrap=True)
    for line in training_lines(result):
        console.print(line, highlight=False, soft_wrap=True)
    for line in baseline_lines(config, result):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_line(
    console: Console,
    config: Config,
    result: dict[str, Any],
    swept: Sequence[str],
    progress: str = "",
    asked: str | None = None,
) -> None:
    """Print a run of a sweep in one line: its arm, its overrides, its main metrics."""
    hidden = {*LABELS, "seed", "evaluation.test", *(["arms"] if config.arm else [])}
    pairs = [word.partition("=") for word in swept]
    words = [f"{short_key(k)}={value}" for k, _, value in pairs if k not in hidden]
    name = " ".join([config.arm, *words] if config.arm else words) or "default"
    split = last_split(result)
    shown = metric_text(result["metrics"][split].get(config.training.metric))
    ends = [f"{result['seconds']:.1f} s"]
    if asked not in (None, config.training.metric):
        ends.insert(0, f"{asked} {metric_text(result['metrics'][split].get(asked))}")
    if text := popularity_text(config, result, config.training.metric):
        ends.insert(0, text)
    console.print(
        f"{name}, seed {config.seed}: {split} {config.training.metric} {shown}, "
        f"{', '.join(ends)}{progress and f' ({progress})'}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def print_metrics(
    console: Console, metrics: dict[str, dict[str, Any]], shown: list[str]
) -> None:
    """Print a table with metrics as rows and splits as columns."""
    if not any(metrics.values()):
        console.print("no metric: no positive is left for a valid or test part")
        return
    table = Table("metric", box=None)
    for split in metrics:
        table.add_column(split, justify="right")
    for name in shown:
        values = [part.get(name) for part in metrics.values()]
        cells = ["" if v is None or v != v else f"{v:.4f}" for v in values]
        table.add_row(name, *cells)
    console.print(table)


def print_study(study: Study, console: Console, report: Path) -> None:
    """Print the arms, best first, and the path of the report as the last line.

    Warnings come first. The primary metric has its standard deviation, the others are
    means. The differences to the base arm and to the controls follow with their
    intervals, then the skipped folders and the answer.
    """
    table, primary = study.table, study.metric
    for line in cautions(study):
        console.print(Text(line), soft_wrap=True)
    order = rank_arms(table, primary)
    marks = arm_marks(study, order)
    widest = max(map(len, marks.values()))
    metrics = _fitting(study, console.width - (widest and widest + 1))
    grid = Table(header_style="bold", box=None, padding=(0, 1, 0, 0))
    grid.add_column("arm", overflow="fold")
    for head in ("seeds", *map(heading, metrics), "seconds"):
        grid.add_column(head, justify="right", no_wrap=True)
    if widest:
        grid.add_column("mark", no_wrap=True)
    for arm, seeds, cells in arm_cells(table, primary, [*metrics, "seconds"]):
        means = [cell.split(" ")[0] for cell in cells[1:]]
        mark = [marks[arm]] if widest else []
        grid.add_row(Text(arm), str(len(seeds)), cells[0], *means, *mark)
    console.print(grid)
    rule = study.base_rule.sentence
    _print_differences(console, study.comparison, study.metric, order, rule)
    if study.rival != study.base:
        _print_differences(console, study.rivalled, study.metric, order)
    _print_controls(console, study, order)
    for line in skipped_lines(study.runs):
        console.print(Text(line), soft_wrap=True)
    if text := answer(study):
        console.print(Text(text))
    console.print(Text(str(report)), soft_wrap=True)


def _fitting(study: Study, width: int) -> list[str]:
    """The metrics whose columns fit beside the names of the arms.

    The primary metric is always among them. Metrics of the catalogue are left to the
    report.
    """
    table, primary, catalogue = study.table, study.metric, of_scope("catalogue")
    names = [n for n in study.shown if n == primary or stem(n) not in catalogue]
    rows = arm_cells(table, primary, [*names, "seconds"])
    longest = max(len(arm) for arm, _, _ in rows)
    room = width - min(longest, NAME) - len(" seeds seconds ") - 3
    kept = []
    for place, name in enumerate(names):
        cells = [cells[place] for _, _, cells in rows]
        widest = max(len(cell if not place else cell.split(" ")[0]) for cell in cells)
        room -= max(widest, len(heading(name))) + 1
        if room < 0 and kept:
            break
        kept.append(name)
    return kept


def skipped_lines(runs: Runs) -> list[str]:
    """Lines with the number of skipped folders and the first of them with reasons."""
    if not runs.skipped:
        return []
    lines = [f"skipped {len(runs.skipped)} folder(s):"]
    lines += [f"  {name}: {reason}" for name, reason in runs.skipped[:SKIPPED]]
    rest = len(runs.skipped) - SKIPPED
    return [*lines, f"  and {rest} more in the report"] if rest > 0 else lines


def _print_differences(
    console: Console,
    comparison: pl.DataFrame,
    metric: str,
    order: Sequence[str],
    sentence: str = "",
) -> None:
    """Print the differences to one arm, best first."""
    if comparison.is_empty():
        return
    arms = comparison["arm"].n_unique()
    base = comparison["base"][0]
    console.print(Text(f"\n{metric}, difference to {base} {_intervals(arms)}"))
    if sentence:
        console.print(Text(sentence))
    grid = _difference_grid()
    for arm, verdict, *cells in difference_cells(comparison, metric, order):
        grid.add_row(Text(arm), verdict, *cells[:3])
    console.print(grid)
    if note := interval_note(comparison, metric):
        console.print(Text(note))


def _print_controls(console: Console, study: Study, order: Sequence[str]) -> None:
    """Print the differences to the controls, if one of them is not the base arm."""
    controlled = study.controlled
    if set(controlled["base"]) <= {study.base}:
        return
    arms = controlled["arm"].n_unique()
    title = f"\n{study.metric}, difference to the control {_intervals(arms)}"
    console.print(Text(title))
    grid = _difference_grid("control")
    controls = dict(controlled.select("arm", "base").iter_rows())
    for arm, verdict, *cells in difference_cells(controlled, study.metric, order):
        grid.add_row(Text(arm), verdict, Text(controls[arm]), *cells[:2])
    console.print(grid)
    if note := interval_note(controlled, study.metric, "its control"):
        console.print(Text(note))


def _intervals(arms: int) -> str:
    """The kind of the printed intervals, which decide the verdicts."""
    return "with 95 % interval" + (f"s, Holm over {arms} arms" if arms > 1 else "")


def _difference_grid(control: str = "") -> Table:
    """An empty table of differences; that to controls has no room for p."""
    grid = Table(header_style="bold", box=None, padding=(0, 1, 0, 0))
    grid.add_column("arm", overflow="fold")
    grid.add_column("verdict", overflow="fold", min_width=VERDICT)
    if control:
        grid.add_column(control, overflow="fold")
    for head in ("difference", "interval", *(() if control else ("p Holm",))):
        grid.add_column(head, justify="right", no_wrap=True)
    return grid


def print_data(console: Console, values: dict[str, Any], fingerprint: str) -> None:
    """Print a table of counts of a data set, with the fingerprint as the last row."""
    table = Table(box=None)
    for head in ("quantity", "value"):
        table.add_column(head, overflow="fold")
    _add_rows(table.add_row, "", values)
    table.add_row("fingerprint", fingerprint)
    console.print(table)


def _add_rows(add: Callable[..., None], prefix: str, values: dict[str, Any]) -> None:
    """Add a row per value; the names of nested values begin with those above them."""
    for name, value in values.items():
        if isinstance(value, dict):
            _add_rows(add, f"{prefix}{name}: ", value)
        else:
            shown = value if isinstance(value, str) else _number(value)
            add(Text(prefix + name), Text(shown))


def _number(value: int | float) -> str:
    """A count with thousands separators, a fraction with four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
