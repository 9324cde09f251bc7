"""The metrics of a study's tables, the order of its arms, and the cells of an arm."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from twotower_jax.config.convert import all_values
from twotower_jax.config.evaluation import EvaluationConfig
from twotower_jax.errors import InputError, closest
from twotower_jax.evaluation.metrics import (
    BUCKETS,
    MAIN,
    Scope,
    larger_is_better,
    of_scope,
    stem,
)
from twotower_jax.study.arms import COSTS, summary

PRIMARY = f"{MAIN}@20"  # the main metric of a study that names none
COST_DIGITS = {"seconds": ",.1f", "examples": ",.0f", "examples_per_second": ",.0f"}


def main_split(table: pl.DataFrame) -> str:
    """The reported split of a study: test if there is one, else valid.

    Examples:
      >>> main_split(pl.DataFrame({"split": ["valid", "test"]}))
      'test'
    """
    splits = table["split"].unique(maintain_order=True).to_list()
    return next((split for split in ("test", "valid") if split in splits), splits[0])


def main_metric(table: pl.DataFrame, requested: str | None = None) -> str:
    """The requested metric, else recall@20, the first recall@k, or the first metric.

    Examples:
      >>> table = pl.DataFrame({"split": "test", "metric": ["ndcg@5", "recall@5"]})
      >>> main_metric(table), main_metric(table, "ndcg@5")
      ('recall@5', 'ndcg@5')
    """
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
    """The metrics that configurations ask for by their keys.

    Returns:
      ``training.metric``, recall at each cutoff of an ``evaluation.k`` that is not the
      default, auc at each of ``evaluation.auc``, and uniform_recall at the cutoff of
      ``training.metric`` where there are uniform exposures; each once.

    Examples:
      >>> config = {"training": {"metric": "map@5"}, "evaluation": {"k": [5]}}
      >>> requested_metrics([config])
      ['map@5', 'recall@5']
    """
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

    Examples:
      >>> metrics = ["recall@5", "recall@5/head", "coverage@5", "gini@5", "ndcg@20"]
      >>> shown_metrics(pl.DataFrame({"split": "test", "metric": metrics}), "recall@5")
      ['recall@5', 'recall@5/head', 'coverage@5']
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
