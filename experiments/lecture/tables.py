"""Verdicts as readers see them: a matrix, and a figure and a table per claim.

    python experiments/lecture/tables.py

Reads verdicts.csv and concentration.csv; writes figure_L2.svg to figure_L8.svg and
replaces the marked parts of README.md here and of docs/results/lecture.md.
"""

from pathlib import Path

import matplotlib
import polars as pl
from checks import CLAIMS
from matrix import matrix

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

HERE = Path(__file__).parent
PAGES = (HERE / "README.md", HERE.parents[1] / "docs" / "results" / "lecture.md")
COLOURS = {"holds": "#1b7837", "reversed": "#b2182b"}


def markdown(table: pl.DataFrame) -> str:
    """The verdicts of a claim as a Markdown table.

    Args:
      table: the rows of verdicts.csv of one claim.

    Returns:
      Markdown text.
    """
    lines = [
        "| check | place | base | difference | 95 % interval | seeds | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.iter_rows(named=True):
        digits = 1 if row["metric"].startswith("arp") else 4
        # Rows of earlier versions have the 95 % interval of the difference alone.
        level = " (90 %)" if row.get("level") == 90 else ""
        lines.append(
            f"| {row['statement']} | {row['place']} | {row['base_mean']:.{digits}f} "
            f"| {row['difference']:+.{digits}f} | {row['low']:+.{digits}f} to "
            f"{row['high']:+.{digits}f}{level} | {row['seeds']} | {row['verdict']} |"
        )
    return "\n".join(lines)


def insert(name: str, text: str) -> None:
    """Replace the text between the marks of a name, in the pages that have them.

    Args:
      name: the name in the marks, such as L3.
      text: the new text.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    for path in PAGES:
        page = path.read_text(encoding="utf-8") if path.exists() else ""
        if begin in page:
            before, rest = page.split(begin)
            after = rest.split(end)[1]
            path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def draw(claim: str, table: pl.DataFrame) -> None:
    """Draw the differences of a claim's checks in every place, in % of the base.

    Args:
      claim: L2 to L8; the figure is figure_CLAIM.svg.
      table: the rows of verdicts.csv of the claim.
    """
    checks = table.partition_by("statement", maintain_order=True)
    heights = [len(check) for check in checks]
    figure, axes = plt.subplots(
        len(checks),
        figsize=(8, 0.26 * sum(heights) + 0.75 * len(checks)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axis, mine in zip(axes[:, 0], checks, strict=True):
        for place, row in enumerate(mine.reverse().iter_rows(named=True)):
            scale = 100 / row["base_mean"]
            ends = [row["low"] * scale, row["high"] * scale]
            colour = COLOURS.get(row["verdict"], "#666666")
            axis.plot(ends, [place, place], color=colour, lw=2)
            axis.plot(row["difference"] * scale, place, "o", color=colour, ms=5)
        axis.axvline(0, color="black", lw=0.8)
        axis.set_yticks(range(len(mine)), mine["place"].reverse().to_list())
        axis.set_ylim(-0.6, len(mine) - 0.4)
        axis.tick_params(labelsize=8)
        axis.set_title(mine["statement"][0], fontsize=9, loc="left")
    axes[-1, 0].set_xlabel(
        "difference in % of the base arm's mean, with the interval that decides",
        fontsize=9,
    )
    save(figure, claim)


def save(figure: Figure, claim: str) -> None:
    """Write figure_CLAIM.svg.

    Args:
      figure: the figure, which is closed.
      claim: L1 to L8, or another name.
    """
    with matplotlib.rc_context({"svg.hashsalt": claim}):
        figure.savefig(HERE / f"figure_{claim}.svg", metadata={"Date": None})
    plt.close(figure)


def write_pages() -> None:
    """Write the matrix, and the figures and tables of L2 to L8, from the csv files."""
    verdicts = pl.read_csv(HERE / "verdicts.csv")
    insert("matrix", matrix(verdicts, pl.read_csv(HERE / "concentration.csv")))
    for claim in CLAIMS:
        mine = verdicts.filter(pl.col("claim") == claim)
        if len(mine):
            draw(claim, mine)
            insert(claim, markdown(mine))


if __name__ == "__main__":
    write_pages()
