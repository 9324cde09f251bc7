"""The words for a difference, and the intervals that decide them.

A word and its interval come from one function, `judge`: better and worse stand beside
an interval that excludes 0, equivalent beside one within the margin, and cannot tell
beside one that holds 0.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from twotower_jax.study.statistics import LEVEL, Difference, holm, holm_levels

SEEDS = 3  # of two seeds that dominate, a family of alike arms has words in 28 %
MARGIN = 0.02  # of the reference's mean: the largest difference that is "equivalent"
BETTER, WORSE = "better", "worse"
EQUIVALENT, WITHIN = "equivalent", "within"
CANNOT_TELL = "cannot tell"
TOO_FEW = f"fewer than {SEEDS} seeds"
UNTUNED = "untuned"


class Rules(NamedTuple):
    """The rules of one verdict."""

    # share of the reference's mean up to which a difference is equivalent
    margin: float = MARGIN
    withheld: str = ""  # the reason for no verdict, such as UNTUNED; "" for a verdict


class Judgement(NamedTuple):
    """The verdict of a difference among the others of its family."""

    word: str  # the result of `verdict`
    p: float  # the decisive p value
    p_holm: float  # the same after Holm's correction
    # the 95 % interval at the level of Holm's test: it excludes 0 exactly where p_holm
    # is below 5 %
    joint: tuple[float, float]
    # the interval that decides the word: the 90 % interval of "equivalent", else the
    # joint one
    ends: tuple[float, float]


def judge(
    differences: Sequence[Difference], rules: Sequence[Rules], larger: bool = True
) -> list[Judgement]:
    """Verdicts of a family of differences, with the intervals that decide them."""
    ps = np.array([one.decisive_p for one in differences], float)
    found = []
    for one, rule, p, adjusted, level in zip(
        differences, rules, ps.tolist(), holm(ps).tolist(), holm_levels(ps), strict=True
    ):
        word = verdict(one, adjusted, larger, rule)
        joint = _joint(one, adjusted, float(level))
        ends = one.equivalence_interval if word.startswith(EQUIVALENT) else joint
        found.append(Judgement(word, p, adjusted, joint, ends))
    return found


def _joint(one: Difference, p_holm: float, level: float) -> tuple[float, float]:
    """The interval at the level of a test; it holds 0 where p does not reject.

    The permutation test alone may not reject: then the interval is extended to 0.
    """
    if math.isnan(one.interval.low):
        return math.nan, math.nan
    low, high = one.interval.at(1 - level)
    return (low, high) if p_holm < 1 - LEVEL else (min(low, 0.0), max(high, 0.0))


def verdict(
    one: Difference, p_holm: float, larger: bool = True, rules: Rules | None = None
) -> str:
    """Verdict of a comparison, in words.

    Better and worse hold at 5 % after Holm's correction. Equivalent requires a 90 %
    interval within the margin: two one-sided tests at 5 %. A difference can be both,
    such as "better (within 2 %)". Every other case cannot tell.

    Examples:
      >>> import numpy as np
      >>> from twotower_jax.study.statistics import compare
      >>> base = np.tile(np.linspace(0.1, 0.3, 50), (3, 1))
      >>> gain, tie = (compare(base + shift, base) for shift in (0.1, 0.001))
      >>> verdict(gain, p_holm=0.002), verdict(tie, p_holm=0.4)
      ('better', 'equivalent (within 2 %)')
      >>> verdict(tie, p_holm=0.002)
      'better (within 2 %)'
      >>> verdict(gain._replace(seeds=2), p_holm=0.002)
      'fewer than 3 seeds'
    """
    rules = rules or Rules()
    if math.isnan(one.interval.low):
        return ""
    if one.seeds < SEEDS:
        return TOO_FEW
    if rules.withheld:
        return rules.withheld
    alike = equivalent(one, rules.margin)
    within = f" ({WITHIN} {percent(rules.margin)})" if alike else ""
    if p_holm < 1 - LEVEL:
        return (BETTER if (one.difference > 0) == larger else WORSE) + within
    return EQUIVALENT + within if alike else CANNOT_TELL


def equivalent(one: Difference, margin: float = MARGIN) -> bool:
    """Whether the 90 % interval lies within the margin around 0.

    References:
      Schuirmann, A comparison of the two one-sided tests procedure and the power
      approach, Journal of Pharmacokinetics and Biopharmaceutics 1987.
    """
    bound, (low, high) = margin * abs(one.base_mean), one.equivalence_interval
    return -bound < low and high < bound


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.3g} %"


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
    if row["verdict"] == TOO_FEW and row.get("seeds", 1) == 2:
        return "-"  # of one degree of freedom: 13 standard errors on each side
    return f"{_ends(row)} (90 %)" if _is_90(row) else _ends(row)


def difference_text(row: dict[str, Any]) -> str:
    """The difference of a row with the interval that decides its verdict.

    Examples:
      >>> row = {"difference": 0.01, "low_verdict": -0.02, "high_verdict": 0.03}
      >>> difference_text(row | {"verdict": "cannot tell"})
      '+0.0100 (95 % interval -0.0200 to +0.0300)'
    """
    (difference,) = signed(row["difference"])
    if row["low_verdict"] is None or interval(row) == "-":
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
    """A formatted number, a dash for None."""
    return "-" if value is None else f"{value:{spec}}"
