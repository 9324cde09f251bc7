"""The metrics of a study's tables, the order of its arms, and the cells of an arm."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from twotower_jax.config.convert import all_values
from twotower_jax.config.evaluation import EvaluationConfig
from twotower_jax.data.text_files import write_text
from twotower_jax.errors import InputError, closest
from twotower_jax.evaluation.metrics import (
    BUCKETS,
    MAIN,
    Scope,
    larger_is_better,
    of_scope,
    stem,
)
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import Run, Runs

COSTS = ("seconds", "examples", "examples_per_second")
# Counts of result.json, under "samples", that are 0 where a source did not act.
IDLE = {"bank": "steps to the best step", "mining": "minings to the best step"}
SCHEMA = {
    "arm": pl.String,
    "seed": pl.Int64,
    "split": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "seconds": pl.Float64,
    "examples": pl.Float64,
    "examples_per_second": pl.Float64,
    "run": pl.String,
}


def study_table(runs: Runs) -> pl.DataFrame:
    """Tidy table of a study: one row per arm, seed, split and metric."""
    names = name_arms([run.config for run in runs.finished])
    rows = []
    for name, run in sorted(
        zip(names, runs.finished, strict=True),
        key=lambda pair: (pair[0], pair[1].seed, pair[1].name),
    ):
        costs = [_cost(run, cost) for cost in COSTS]
        for split, metrics in run.result["metrics"].items():
            for metric, value in metrics.items():
                row = (name, run.seed, split, metric, _number(value))
                rows.append((*row, *costs, run.name))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def idle_sources(runs: Runs) -> list[str]:
    """The arms with a source of negatives that did not act on what is evaluated.

    Of some run of the arm the best parameters are from before the bank was first used,
    or before the first mining.
    """
    names = name_arms([run.config for run in runs.finished])
    found = set()
    for name, run in zip(names, runs.finished, strict=True):
        samples = run.result.get("samples")
        samples = samples if isinstance(samples, dict) else {}
        for source in IDLE:
            counts = samples.get(source)
            if isinstance(counts, dict) and counts.get(IDLE[source]) == 0:
                found.add(f"{name} ({source})")
    return sorted(found)


def _cost(run: Run, cost: str) -> float | None:
    """A cost of a run; its examples are steps times the batch size."""
    if cost != "examples":
        return _number(run.result.get(cost))
    training = run.config.get("training")
    size = training.get("batch_size") if isinstance(training, dict) else None
    steps, size = _number(run.result.get("steps")), _number(size)
    return None if steps is None or size is None else steps * size


def _number(value: Any) -> float | None:
    """A finite number as float, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def summary(
    table: pl.DataFrame, metrics: Sequence[str], split: str = "test"
) -> pl.DataFrame:
    """Mean and standard deviation over seeds of each arm and metric."""
    keys = ["arm", "metric"]
    rows = table.filter(pl.col("split") == split)
    once = table.unique("run", maintain_order=True).select("arm", *COSTS)
    costs = once.unpivot(on=list(COSTS), index="arm", variable_name="metric")
    values = pl.concat([rows.select(*keys, "value"), costs.select(*keys, "value")])
    numbers = values.group_by(keys, maintain_order=True).agg(
        mean=pl.col("value").mean(),
        sd=pl.col("value").std(ddof=1),
        seeds=pl.col("value").count().cast(pl.Int64),
    )
    arms = table.select("arm").unique(maintain_order=True)
    cells = arms.join(pl.DataFrame({"metric": list(metrics)}), how="cross")
    joined = cells.join(numbers, on=keys, how="left", maintain_order="left")
    return joined.with_columns(pl.col("seeds").fill_null(0))


def write_study(table: pl.DataFrame, folder: str | Path) -> Path:
    """Write study.csv."""
    return write_text(Path(folder) / "study.csv", table.write_csv())


PRIMARY = f"{MAIN}@20"  # the main metric of a study that names none
COST_DIGITS = {"seconds": ",.1f", "examples": ",.0f", "examples_per_second": ",.0f"}


def main_split(table: pl.DataFrame) -> str:
    """The reported split of a study: test if there is one, else valid."""
    splits = table["split"].unique(maintain_order=True).to_list()
    return next((split for split in ("test", "valid") if split in splits), splits[0])


def main_metric(table: pl.DataFrame, requested: str | None = None) -> str:
    """The requested metric, else recall@20, the first recall@k, or the first metric."""
    rows = table.filter(pl.col("split") == main_split(table))
    metrics = rows["metric"].unique(maintain_order=True).to_list()
    if requested is None:
        recalls = [name for name in metrics if re.fullmatch(rf"{MAIN}@\d+", name)]
        return PRIMARY if PRIMARY in metrics else [*recalls, *metrics][0]
    if requested not in metrics:
        near = closest(requested, metrics)
        raise InputError(
            f"no run has the metric {requested!r} on {main_split(table)}"
            + (f" ({near})" if near else "")
            + f"; choose one of {', '.join(metrics)}: twotower report DIR --metric NAME"
        )
    return requested


def rank_arms(table: pl.DataFrame, metric: str) -> list[str]:
    """Names of the arms by the mean of a metric, best first; equal ones by name."""
    means = summary(table, [metric], main_split(table))
    descending = [larger_is_better(metric), False]
    order = means.sort("mean", "arm", descending=descending, nulls_last=True)
    return order["arm"].to_list()


def requested_metrics(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics that configurations ask for by their keys."""
    names: list[str] = []
    for config in configs:
        values = all_values(config)
        metric, cutoffs = values["training.metric"], tuple(values["evaluation.k"])
        names.append(metric)
        if cutoffs != EvaluationConfig().k:
            names += [f"{MAIN}@{k}" for k in cutoffs]
        names += [f"auc@{name}" for name in values["evaluation.auc"]]
        if values["evaluation.uniform_exposures"]:
            names.append(f"uniform_{MAIN}@{metric.rpartition('@')[2]}")
    return list(dict.fromkeys(names))


def shown_metrics(
    table: pl.DataFrame, primary: str, requested: Sequence[str] = ()
) -> list[str]:
    """Metrics of the report's tables: the primary one, the requested, the shown ones.

    The shown ones have the cutoff of the primary metric, or 20 if it has none. Slices
    are those of the primary metric, or those of recall if it has none.
    """
    cutoff = match[1] if (match := re.search(r"@(\d+)$", primary)) else "20"
    rows = table.filter(pl.col("split") == main_split(table))
    present = rows["metric"].unique(maintain_order=True).to_list()

    def shown(*scopes: Scope) -> list[str]:
        return [f"{name}@{cutoff}" for name in of_scope(*scopes, view="study")]

    main = f"{MAIN}@{cutoff}"
    whole = primary if f"{primary}/{BUCKETS[0]}" in present else main
    sliced = [f"{whole}/{part}" for part in BUCKETS]
    rivals = [n for n in present if stem(n) in of_scope("rivals", view="study")]
    truth, query = shown("best", "uniform", "clicks"), shown("query")
    names = [primary, *requested, *truth, *query, *sliced, *shown("catalogue")]
    names += rivals
    return [name for name in dict.fromkeys(names) if name in present]


def arm_cells(
    table: pl.DataFrame, primary: str, columns: Sequence[str]
) -> list[tuple[str, list[int], list[str]]]:
    """Cells of the table of the arms, by rank."""
    rows = summary(table, columns, main_split(table)).rows(named=True)
    cells = {(row["arm"], row["metric"]): mean_cell(row) for row in rows}
    seeds = dict(table.group_by("arm").agg(pl.col("seed").unique().sort()).iter_rows())
    return [
        (arm, seeds[arm], [cells[arm, column] for column in columns])
        for arm in rank_arms(table, primary)
    ]


def mean_cell(row: dict[str, Any]) -> str:
    """`mean ± sd` with the number of digits that suits the metric.

    Examples:
      >>> mean_cell({"metric": "recall@20", "mean": 0.15, "sd": 0.0707})
      '0.1500 ± 0.0707'
      >>> mean_cell({"metric": "seconds", "mean": 1234.56, "sd": None})
      '1,234.6'
    """
    if row["mean"] is None:
        return "-"
    spec = COST_DIGITS.get(row["metric"], ".4f")
    # The seeds of an arm have equally many examples unless some stop early.
    equal = row["metric"] == "examples" and row["sd"] == 0
    spread = "" if row["sd"] is None or equal else f" ± {row['sd']:{spec}}"
    return f"{row['mean']:{spec}}{spread}"


def heading(column: str) -> str:
    """Short heading of a column: a slice without its metric, a rate with a slash.

    Examples:
      >>> heading("recall@20/tail"), heading("recall@20")
      ('tail', 'recall@20')
      >>> heading("examples_per_second")
      'examples/s'
    """
    if column in COSTS:
        return column.replace("_per_second", "/s")
    bucket = column.rpartition("/")[2]
    return bucket if bucket in BUCKETS else column
