"""Compare a published table with the results of an experiment: cells and gains.

    python experiments/papers/cells.py sl_at_k [sl_at_k_tuned ...]

experiments/papers/NAME has published.csv (arm, metric, value) and gains.csv (arm, over:
the claim that one is better than the other), both written by hand from the paper, and
results.csv and comparison.csv of experiments/collect.py. This writes cells.csv and the
tables between the marks <!-- NAME.cells --> and <!-- NAME.gains --> of the README.md in
the folder of the first NAME, where it has them. Further names are other forms of the
same table, such as tuned arms, with what the first one has from the paper.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))
from collect import insert

HERE = Path(__file__).parent
# The study's word for a difference, as a word for a claimed gain.
GAINS = {"better": "real", "worse": "reversed", "equivalent": "not seen"}
BOUND = 0.02  # relative; an interval within it reproduces the cell


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over seeds and its 95 % interval of Student's t.

    Examples:
      >>> [round(x, 3) for x in interval([1.0, 1.1, 1.2])]
      [1.1, 0.852, 1.348]
    """
    mean, number = float(np.mean(values)), len(values)
    if number < 2:
        return mean, math.nan, math.nan
    error = float(np.std(values, ddof=1)) / math.sqrt(number)
    half = float(stats.t.ppf(0.975, number - 1)) * error
    return mean, mean - half, mean + half


def mean_text(values: Sequence[float]) -> str:
    """Return the mean over seeds, with its 95 % interval where it has one.

    Examples:
      >>> mean_text([0.25]), mean_text([0.24, 0.25, 0.26])
      ('0.2500', '0.2500 (0.2252 to 0.2748)')
    """
    mean, low, high = interval(values)
    return f"{mean:.4f}" + ("" if math.isnan(low) else f" ({low:.4f} to {high:.4f})")


def verdict(published: float, low: float, high: float) -> str:
    """Return the word for a cell, given the 95 % interval of ours.

    Examples:
      >>> verdict(0.2, 0.199, 0.203), verdict(0.2, 0.203, 0.207)
      ('reproduced', 'higher')
      >>> verdict(0.2, 0.19, 0.199), verdict(0.2, 0.19, 0.21)
      ('lower', 'cannot tell')
      >>> verdict(0.2, math.nan, math.nan)
      'cannot tell'
    """
    if (1 - BOUND) * published <= low and high <= (1 + BOUND) * published:
        return "reproduced"
    if low > published:
        return "higher"
    if high < published:
        return "lower"
    return "cannot tell"


def cells(published: pl.DataFrame, results: pl.DataFrame) -> list[dict[str, Any]]:
    """Return a row per published cell that has results.

    Args:
      published: columns arm, metric, value.
      results: columns arm, seed, metric, value; the tuned settings in the names of
        arms, behind a space, are not read.
    """
    names = {arm: _plain(arm, published["arm"].to_list()) for arm in results["arm"]}
    ours = results.with_columns(arm=pl.col("arm").replace(names))
    rows = []
    for cell in published.iter_rows(named=True):
        same = (pl.col("arm") == cell["arm"]) & (pl.col("metric") == cell["metric"])
        values = ours.filter(same)["value"].to_list()
        if values:
            mean, low, high = interval(values)
            word = verdict(cell["value"], low, high)
            row = {"ours": mean, "low": low, "high": high, "seeds": len(values)}
            rows.append({**cell, **row, "verdict": word})
    return rows


def _plain(arm: str, known: list[str]) -> str:
    """Return the published arm that a name begins with; the name without one."""
    fits = [one for one in known if arm == one or arm.startswith(f"{one} ")]
    return max(fits, key=len, default=arm)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the cells as a Markdown table."""
    lines = ["| arm | metric | published | here | difference | verdict |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        low, middle, high = (
            100 * (row[name] / row["value"] - 1) for name in ("low", "ours", "high")
        )
        lines.append(
            f"| {row['arm']} | {row['metric']} | {row['value']:.4f} | "
            f"{row['ours']:.4f} | {middle:+.1f} % ({low:+.1f} to {high:+.1f}) | "
            f"{row['verdict']} |"
        )
    return "\n".join(lines)


def gains(
    claims: pl.DataFrame, published: pl.DataFrame, comparison: pl.DataFrame
) -> list[dict[str, Any]]:
    """Return a row per claimed gain and published metric.

    The difference, its interval and the word are those of the study, whose base or
    control the weaker arm has to be.

    Args:
      claims: columns arm, over.
      published: columns arm, metric, value.
      comparison: of the study.
    """
    known = published["arm"].to_list()
    value = {(one["arm"], one["metric"]): one["value"] for one in published.to_dicts()}
    pairs = {}
    of_metrics = pl.col("metric").is_in(published["metric"].implode())
    for one in comparison.filter(of_metrics).iter_rows(named=True):
        for prefix, of in (("", one["base"]), ("control_", one["control"])):
            if of is not None:
                pair = _plain(one["arm"], known), _plain(of, known), one["metric"]
                pairs.setdefault(pair, _gain(one, prefix))
    rows = []
    for arm, over in claims.select("arm", "over").iter_rows():
        for metric in published["metric"].unique(maintain_order=True):
            if (here := pairs.get((arm, over, metric))) is not None:
                printed = value[arm, metric] / value[over, metric] - 1
                names = {"arm": arm, "over": over, "metric": metric}
                rows.append({**names, "printed": printed, **here})
    return rows


def _gain(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return a difference of a study over the weaker arm's mean, and its word."""
    scale = row["control_mean" if prefix else "base_mean"]
    word = row[f"{prefix}verdict"]
    for study, claim in GAINS.items():
        word = word.replace(study, claim)
    names = {"here": "difference", "low": "low_verdict", "high": "high_verdict"}
    return {
        **{name: row[prefix + column] / scale for name, column in names.items()},
        "verdict": word,
    }


def gains_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the gains as a Markdown table, in percent of the weaker arm."""
    lines = ["| gain of | over | metric | printed | here | verdict |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        printed, here, low, high = (
            100 * row[name] for name in ("printed", "here", "low", "high")
        )
        lines.append(
            f"| {row['arm']} | {row['over']} | {row['metric']} | {printed:+.1f} % | "
            f"{here:+.1f} % ({low:+.1f} to {high:+.1f}) | {row['verdict']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Write the cells and the gains of one published table."""
    names = sys.argv[1:]
    first = HERE / names[0]
    published, claims = (
        pl.read_csv(first / f"{n}.csv") for n in ("published", "gains")
    )
    for name in names:
        rows = cells(published, pl.read_csv(HERE / name / "results.csv"))
        pl.DataFrame(rows).write_csv(HERE / name / "cells.csv")
        insert(first / "README.md", f"{name}.cells", markdown(rows))
        comparison = pl.read_csv(HERE / name / "comparison.csv")
        table = gains_table(gains(claims, published, comparison))
        insert(first / "README.md", f"{name}.gains", table)


if __name__ == "__main__":
    main()
