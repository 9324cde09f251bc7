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
from twotower_jax.study.trained import BASELINE, ORACLE
from twotower_jax.study.verdicts import difference_cells, interval_note

VERDICT = len("fewer than 3")  # of the shortest lines of a verdict
NAME = 24  # least number of characters for the names of arms, if they are longer
CATALOGUE = of_scope("catalogue")  # metrics that are left to the report
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

    Warnings come first. The table has the differences to the base arm, and other
    metrics as far as the width allows. The differences to the rival and to the controls
    follow, then the skipped folders and the answer.
    """
    primary, order = study.metric, rank_arms(study.table, study.metric)
    for line in cautions(study):
        console.print(Text(line), soft_wrap=True)
    _print_arms(console, study, order)
    if note := interval_note(study.comparison, primary):
        console.print(Text(note))
    if study.rival and study.rival != study.base:
        _print_differences(console, study.rivalled, primary, order)
    if not set(study.controlled["base"]) <= {study.base}:
        _print_differences(console, study.controlled, primary, order, "control")
    for line in skipped_lines(study.runs):
        console.print(Text(line), soft_wrap=True)
    if text := answer(study):
        console.print(Text(text))
    console.print(Text(str(report)), soft_wrap=True)


def _print_arms(console: Console, study: Study, order: Sequence[str]) -> None:
    """Print the primary metric of the arms, their differences to the base, and more."""
    primary = study.metric
    if study.base and not study.comparison.is_empty():
        number = study.comparison["arm"].n_unique()
        console.print(Text(f"difference to {study.base} {_intervals(number)}"))
    compared = difference_cells(study.comparison, primary, order)
    differences = {arm: (gap, ends, word) for arm, word, gap, ends, *_ in compared}
    blank = ("", "", "base" if compared else "")
    marks = arm_marks(study, order)
    others = [n for n in study.shown if n != primary and stem(n) not in CATALOGUE]
    rows = []
    for arm, seeds, (mean, *cells) in arm_cells(
        study.table, primary, [primary, *others, "seconds"]
    ):
        *means, seconds = (cell.split(" ")[0] for cell in cells)
        # Warnings name the arms that were still learning.
        kinds = [word for word in marks[arm].split(", ") if word in (BASELINE, ORACLE)]
        name = f"{arm} ({', '.join(kinds)})" if kinds else arm
        start = [name, str(len(seeds)), mean.split(" ")[0]]
        rows.append([*start, *differences.get(arm, blank), seconds, *means])
    heads = ["arm", "seeds", primary, "difference", "interval", "verdict", "seconds"]
    heads += map(heading, others)
    empty = {place for place in range(3, 6) if not any(row[place] for row in rows)}
    grid, room = Table(header_style="bold", box=None, padding=(0, 1, 0, 0)), 0
    for place, head in enumerate(heads):
        head, longest = head.replace("_", "_\n"), max(len(row[place]) for row in rows)
        least = max(map(len, [*head.split("\n"), " " * longest]))
        if head in ("arm", "verdict"):
            longest = min(longest, NAME if head == "arm" else VERDICT)
            grid.add_column(head, overflow="fold", min_width=longest)
            least = max(longest, len(head))
        elif place in empty or (place > 5 and room + least > console.width):
            empty.add(place)
            continue
        else:
            grid.add_column(head, justify="right", no_wrap=True)
        room += least + 1
    for row in rows:
        grid.add_row(*(Text(cell) for i, cell in enumerate(row) if i not in empty))
    console.print(grid)


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
    control: str = "",
) -> None:
    """Print the differences to one arm, or to the control of each, best first."""
    arms, base = comparison["arm"].n_unique(), f"the {control}"
    references = dict(comparison.select("arm", "base").iter_rows())
    if not control:
        base = comparison["base"][0]
    console.print(Text(f"\n{metric}, difference to {base} {_intervals(arms)}"))
    grid = Table(header_style="bold", box=None, padding=(0, 1, 0, 0))
    grid.add_column("arm", overflow="fold")
    grid.add_column("verdict", overflow="fold", min_width=VERDICT)
    if control:
        grid.add_column(control, overflow="fold")
    for head in ("difference", "interval"):
        grid.add_column(head, justify="right", no_wrap=True)
    for arm, verdict, *cells in difference_cells(comparison, metric, order):
        reference = [Text(references[arm])] if control else []
        grid.add_row(Text(arm), verdict, *reference, *cells[:2])
    console.print(grid)
    if note := interval_note(comparison, metric, "its control" if control else base):
        console.print(Text(note))


def _intervals(arms: int) -> str:
    """The kind of the printed intervals, which decide the verdicts."""
    return "with 95 % interval" + (f"s, Holm over {arms} arms" if arms > 1 else "")


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
