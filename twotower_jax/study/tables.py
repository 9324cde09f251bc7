"""The main metric of a study, the order of its arms, and the cells of its tables."""

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
from twotower_jax.study.verdicts import EQUIVALENT

PRIMARY = f"{MAIN}@20"  # the main metric of a study that names none
COST_DIGITS = {"seconds": ",.1f", "examples": ",.0f", "examples_per_second": ",.0f"}


def main_split(table: pl.DataFrame) -> str:
    """The reported split of a study: test if there is one, else valid.

    Args:
      table: the result of `arms.study_table`.

    Returns:
      The name of a split in the table.

    Examples:
      >>> main_split(pl.DataFrame({"split": ["valid", "test"]}))
      'test'
    """
    splits = table["split"].unique(maintain_order=True).to_list()
    return next((split for split in ("test", "valid") if split in splits), splits[0])


def main_metric(table: pl.DataFrame, requested: str | None = None) -> str:
    """The requested metric, else recall@20, the first recall@k, or the first metric.

    Args:
      table: the result of `arms.study_table`.
      requested: the metric that the user names.

    Returns:
      A metric of the table.

    Raises:
      InputError: when no run has the requested metric, with those that they have.

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
    """Names of the arms by the mean of a metric, best first; equal ones by name.

    Args:
      table: the result of `arms.study_table`.
      metric: the metric; the table of metrics decides whether larger is better.

    Returns:
      All arms; those without the metric are last.
    """
    means = summary(table, [metric], main_split(table))
    descending = [larger_is_better(metric), False]
    order = means.sort("mean", "arm", descending=descending, nulls_last=True)
    return order["arm"].to_list()


def shown_metrics(table: pl.DataFrame, primary: str) -> list[str]:
    """Metrics of the report's tables: the primary one first, then the shown ones.

    They have the cutoff of the primary metric, or 20 if it has none. Slices are those
    of the primary metric, or those of recall if it has none.

    Args:
      table: the result of `arms.study_table`.
      primary: the primary metric.

    Returns:
      Names of metrics that at least one run has.

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
    names = [primary, *truth, *query, *sliced, *shown("catalogue"), *rivals]
    return [name for name in dict.fromkeys(names) if name in present]


def arm_cells(
    table: pl.DataFrame, primary: str, columns: Sequence[str]
) -> list[tuple[str, list[int], list[str]]]:
    """Cells of the table of the arms, by rank.

    Args:
      table: the result of `arms.study_table`.
      primary: the metric that orders the arms.
      columns: names of metrics and costs.

    Returns:
      (arm, its seeds, `mean ± sd` of each column) per arm.
    """
    rows = summary(table, columns, main_split(table)).rows(named=True)
    cells = {(row["arm"], row["metric"]): mean_cell(row) for row in rows}
    seeds = dict(table.group_by("arm").agg(pl.col("seed").unique().sort()).iter_rows())
    return [
        (arm, seeds[arm], [cells[arm, column] for column in columns])
        for arm in rank_arms(table, primary)
    ]


def mean_cell(row: dict[str, Any]) -> str:
    """`mean ± sd` with the number of digits that suits the metric.

    Args:
      row: a row of `arms.summary`.

    Returns:
      The text; a dash without a mean, no sd for one seed.

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

    Args:
      column: the name of a metric or a cost.

    Returns:
      The heading.

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


def difference_cells(
    comparison: pl.DataFrame, metric: str, order: Sequence[str]
) -> list[tuple[str, ...]]:
    """Cells of the differences to the reference arms in one metric.

    Args:
      comparison: the result of `comparison.compare_arms`.
      metric: the metric.
      order: names of the arms; those without a row are left out.

    Returns:
      (arm, verdict, difference, the interval that decides it, p Holm, smallest visible,
      seeds x queries) per arm.
    """
    rows = comparison.filter(pl.col("metric") == metric).rows(named=True)
    by_arm = {row["arm"]: row for row in rows}
    return [
        (
            arm,
            row["verdict"] or "-",
            signed(row["difference"])[0],
            interval(row),
            p_cell(row["p_holm"]),
            _number(row["smallest_visible"], ".4f"),
            f"{row['seeds']} x {row['queries']:,}",
        )
        for arm, row in ((arm, by_arm[arm]) for arm in order if arm in by_arm)
    ]


def interval(row: dict[str, Any]) -> str:
    """The interval that decides the verdict of a row, a dash without an interval.

    Args:
      row: a row of `comparison.compare_arms`.

    Returns:
      `low to high`, marked where it is the 90 % interval of an equivalence.

    Examples:
      >>> row = {"low_verdict": -0.0121, "high_verdict": 0.02, "verdict": "cannot tell"}
      >>> interval(row)
      '-0.0121 to +0.0200'
      >>> interval({**row, "low_verdict": 1e-6, "verdict": "better"})
      '+0.000001 to +0.020000'
      >>> interval({**row, "verdict": "equivalent (within 2 %)"})
      '-0.0121 to +0.0200 (90 %)'
    """
    return f"{_ends(row)} (90 %)" if _is_90(row) else _ends(row)


def difference_text(row: dict[str, Any]) -> str:
    """The difference of a row with the interval that decides its verdict.

    Args:
      row: a row of `comparison.compare_arms`.

    Examples:
      >>> row = {"difference": 0.01, "low_verdict": -0.02, "high_verdict": 0.03}
      >>> difference_text(row | {"verdict": "cannot tell"})
      '+0.0100 (95 % interval -0.0200 to +0.0300)'
    """
    (difference,) = signed(row["difference"])
    if row["low_verdict"] is None:
        return difference
    level = "90" if _is_90(row) else "95"
    return f"{difference} ({level} % interval {_ends(row)})"


def _ends(row: dict[str, Any]) -> str:
    if row["low_verdict"] is None:
        return "-"
    return " to ".join(signed(row["low_verdict"], row["high_verdict"]))


def _is_90(row: dict[str, Any]) -> bool:
    return (row["verdict"] or "").startswith(EQUIVALENT)


def signed(*values: float | None) -> list[str]:
    """Differences with a sign, in so many digits that only a 0 looks like one.

    Args:
      values: shown with equal numbers of digits, four or more; None is a dash.

    Examples:
      >>> signed(-0.00001, 0.02), signed(0.0, None)
      (['-0.00001', '+0.02000'], ['0.0000', '-'])
    """
    numbers = [value for value in values if value]
    digits = next(
        (d for d in range(4, 12) if all(round(value, d) for value in numbers)), 12
    )
    return [
        "-" if value is None else f"{value:{'+' if value else ''}.{digits}f}"
        for value in values
    ]


def p_cell(p: float | None) -> str:
    """A p value with three digits, a dash without one.

    Examples:
      >>> p_cell(0.0312), p_cell(0.0004), p_cell(None)
      ('0.031', '<0.001', '-')
    """
    return "<0.001" if p is not None and p < 1e-3 else _number(p, ".3f")


def interval_note(
    comparison: pl.DataFrame, metric: str, reference: str = "the base"
) -> str:
    """A note about arms without an interval, or with one over queries only.

    Args:
      comparison: the result of `comparison.compare_arms`.
      metric: the metric.
      reference: the arms that they are compared to.

    Returns:
      Sentences, or an empty text.
    """
    rows = comparison.filter(pl.col("metric") == metric)
    bare = rows.filter(pl.col("low").is_null())["arm"].to_list()
    single = rows.filter(pl.col("low").is_not_null() & (pl.col("seeds") < 2))
    notes = []
    if len(single):
        arms = ", ".join(single["arm"])
        notes.append(
            f"One seed shared with {reference}: the interval is over queries only "
            f"({arms})."
        )
    if bare:
        arms = ", ".join(bare)
        notes.append(
            f"No interval: no seed shared with {reference} has values per query in "
            f"queries.parquet ({arms})."
        )
    return " ".join(notes)


def _number(value: float | None, spec: str) -> str:
    """Return a formatted number, a dash for None."""
    return "-" if value is None else f"{value:{spec}}"
