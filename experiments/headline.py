"""The table at the top of README.md, from the results of the quickstart study.

``python experiments/headline.py`` writes it between the marks of README.md.
"""

from pathlib import Path

import polars as pl
from collect import insert

from twotower_jax.study.differences import interval

HERE = Path(__file__).parent
ARMS = (
    "in-batch + logQ",
    "in-batch + logQ + uniform slots",
    "in-batch + logQ + half hard",
    "in-batch + logQ + downsample_hot",
    "in-batch",
    "uniform slots",
    "half exposed",
)


def headline(comparison: pl.DataFrame) -> str:
    """Return some arms of the quickstart study as a table in markdown.

    Args:
      comparison: the rows of comparison.csv, one per arm, metric and base arm.
    """
    rows = {
        (row["arm"], row["metric"]): row for row in comparison.iter_rows(named=True)
    }
    base = next(iter(rows.values()))["base"]
    lines = [
        "| arm | true_recall@20 | difference (interval) | verdict | recall@20 |",
        "|---|---|---|---|---|",
    ]
    for arm in ARMS:
        if arm == base:
            other = next(name for name, _ in rows if name != base)
            truth = rows[other, "true_recall@20"]["base_mean"]
            logged = rows[other, "recall@20"]["base_mean"]
            difference, verdict = "base", ""
        else:
            row = rows[arm, "true_recall@20"]
            truth, logged = row["mean"], rows[arm, "recall@20"]["mean"]
            difference = f"{row['difference']:+.4f} ({interval(row)})"
            verdict = row["verdict"].removesuffix(" (within 2 %)")
        cells = (arm, f"{truth:.4f}", difference, verdict, f"{logged:.4f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    table = pl.read_csv(HERE / "quickstart" / "comparison.csv")
    insert(HERE.parent / "README.md", "headline", headline(table))
