"""Compare the cells of a published table with the results of an experiment.

    python experiments/papers/cells.py sl_at_k [sl_at_k_tuned ...]

experiments/papers/NAME has published.csv (arm, metric, value), written by hand from the
paper, and results.csv of experiments/collect.py. This writes cells.csv and the table
between the marks <!-- NAME.cells --> of the README.md in the folder of the first NAME.
Further names are other forms of the same table, such as tuned arms, with the published
cells of the first one.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

HERE = Path(__file__).parent
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


def insert(path: Path, name: str, text: str) -> None:
    """Replace the text between the marks of a name in a file."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Write the cells of one published table."""
    names = sys.argv[1:]
    published = pl.read_csv(HERE / names[0] / "published.csv")
    for name in names:
        rows = cells(published, pl.read_csv(HERE / name / "results.csv"))
        pl.DataFrame(rows).write_csv(HERE / name / "cells.csv")
        insert(HERE / names[0] / "README.md", f"{name}.cells", markdown(rows))


if __name__ == "__main__":
    main()
