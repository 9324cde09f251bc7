"""Cells of tables of differences, with the interval that decides each verdict."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from twotower_jax.study.verdicts import EQUIVALENT


def difference_cells(
    comparison: pl.DataFrame, metric: str, order: Sequence[str]
) -> list[tuple[str, ...]]:
    """Cells of the differences to the reference arms in one metric."""
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
    """A note about arms without an interval, or with one over queries only."""
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
