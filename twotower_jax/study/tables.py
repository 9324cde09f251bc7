"""What a study shows first: its main metric, the order of its arms, their cells."""

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

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

PRIMARY = f"{MAIN}@20"  # where a study names no metric
COST_DIGITS = {"seconds": ",.1f", "examples": ",.0f", "examples_per_second": ",.0f"}


def main_split(table: pl.DataFrame) -> str:
    """Return the split that is reported: test where there is one, else valid."""
    splits = table["split"].unique(maintain_order=True).to_list()
    return next((split for split in ("test", "valid") if split in splits), splits[0])


def main_metric(table: pl.DataFrame, asked: str | None = None) -> str:
    """Return the metric asked for, else recall@20, the first recall@k or metric.

    Raises:
      InputError: when no run has the metric asked for, naming those that they have.
    """
    rows = table.filter(pl.col("split") == main_split(table))
    metrics = rows["metric"].unique(maintain_order=True).to_list()
    if asked is None:
        recalls = [name for name in metrics if re.fullmatch(rf"{MAIN}@\d+", name)]
        return PRIMARY if PRIMARY in metrics else [*recalls, *metrics][0]
    if asked not in metrics:
        near = closest(asked, metrics)
        raise InputError(
            f"no run has the metric {asked!r} on {main_split(table)}"
            + (f" ({near})" if near else "")
            + f"; choose one of {', '.join(metrics)}: twotower report DIR --metric NAME"
        )
    return asked


def rank_arms(table: pl.DataFrame, metric: str) -> list[str]:
    """Return the arms by the mean of a metric, best first; equal ones by name."""
    means = summary(table, [metric], main_split(table))
    descending = [larger_is_better(metric), False]
    order = means.sort("mean", "arm", descending=descending, nulls_last=True)
    return order["arm"].to_list()


def shown_metrics(table: pl.DataFrame, primary: str) -> list[str]:
    """Return the metrics of the tables: the primary one first, those that exist.

    They are taken at the cutoff of the primary metric, 20 where it has none. Slices
    are those of the primary metric where it has some, else of recall.
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
    names = [primary, *truth, *query, *sliced, *shown("catalogue"), *rivals]
    return [name for name in dict.fromkeys(names) if name in present]


def arm_cells(
    table: pl.DataFrame, primary: str, columns: Sequence[str]
) -> list[tuple[str, list[int], list[str]]]:
    """Return (arm, seeds, `mean ± sd` of each column) by rank."""
    rows = summary(table, columns, main_split(table)).rows(named=True)
    cells = {(row["arm"], row["metric"]): _mean(row) for row in rows}
    seeds = dict(table.group_by("arm").agg(pl.col("seed").unique().sort()).iter_rows())
    return [
        (arm, seeds[arm], [cells[arm, column] for column in columns])
        for arm in rank_arms(table, primary)
    ]


def _mean(row: dict[str, Any]) -> str:
    """Return `mean ± sd` with the digits that its column needs."""
    if row["mean"] is None:
        return "-"
    spec = COST_DIGITS.get(row["metric"], ".4f")
    # Arms train on as many examples with every seed, unless they stop early.
    exact = row["metric"] == "examples" and row["sd"] == 0
    spread = "" if row["sd"] is None or exact else f" ± {row['sd']:{spec}}"
    return f"{row['mean']:{spec}}{spread}"


def heading(column: str) -> str:
    """Return a short heading: a slice without its metric, a rate as such."""
    return column.replace("_per_second", "/s") if column in COSTS else _last(column)


def _last(column: str) -> str:
    """Return the name of a slice; that of a metric without slices as it is."""
    stem, _, part = column.rpartition("/")
    return part if stem and part in BUCKETS else column


def difference_cells(
    comparison: pl.DataFrame, metric: str, order: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return (arm, difference, interval, p Holm, smallest visible, pairs, verdict).

    Args:
      comparison: what `comparison.compare_arms` returns.
      metric: of which metric.
      order: the arms; those without a row are left out.
    """
    rows = comparison.filter(pl.col("metric") == metric).rows(named=True)
    found = {row["arm"]: row for row in rows}
    return [
        (
            arm,
            _number(row["difference"], "+.4f"),
            interval(row),
            "<0.001" if (p := row["p_holm"]) is not None and p < 1e-3 else _number(p),
            _number(row["smallest_visible"], ".4f"),
            f"{row['seeds']} x {row['queries']:,}",
            row["verdict"] or "-",
        )
        for arm, row in ((arm, found[arm]) for arm in order if arm in found)
    ]


def interval(row: dict[str, Any]) -> str:
    """Return `low to high` of a row of a comparison."""
    if row["low"] is None:
        return "-"
    return f"{row['low']:+.4f} to {row['high']:+.4f}"


def interval_note(comparison: pl.DataFrame, metric: str) -> str:
    """Return what the intervals of a metric do not speak of, or an empty text."""
    rows = comparison.filter(pl.col("metric") == metric)
    bare = rows.filter(pl.col("low").is_null())["arm"].to_list()
    single = rows.filter(pl.col("low").is_not_null() & (pl.col("seeds") < 2))
    notes = []
    if len(single):
        arms = ", ".join(single["arm"])
        notes.append(
            "One seed shared with the base: the interval is over queries only "
            f"({arms})."
        )
    if bare:
        arms = ", ".join(bare)
        notes.append(
            "No interval: no seed shared with the base has values by query in "
            f"queries.parquet ({arms})."
        )
    return " ".join(notes)


def _number(value: float | None, spec: str = ".3f") -> str:
    return "-" if value is None else f"{value:{spec}}"
