"""How a claim's differences are shown: a figure, and a table in the README."""

from pathlib import Path

import matplotlib
import polars as pl

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
COLOURS = {"holds": "#1b7837", "reversed": "#b2182b"}


def markdown(table: pl.DataFrame) -> str:
    """Return the verdicts of a claim as a table."""
    lines = [
        "| the claim says | where | base | difference | interval | seeds | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.iter_rows(named=True):
        digits = 1 if row["metric"].startswith("arp") else 4
        lines.append(
            f"| {row['says']} | {row['place']} | {row['base_mean']:.{digits}f} "
            f"| {row['difference']:+.{digits}f} | {row['low']:+.{digits}f} to "
            f"{row['high']:+.{digits}f} | {row['seeds']} | {row['verdict']} |"
        )
    return "\n".join(lines)


def insert(claim: str, text: str) -> None:
    """Replace what stands between the marks of a claim in README.md."""
    path, (begin, end) = HERE / "README.md", (f"<!-- {claim} -->", f"<!-- /{claim} -->")
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def draw(claim: str, table: pl.DataFrame) -> None:
    """Write the differences of a claim's checks in every place, in % of the base."""
    checks = table.partition_by("says", maintain_order=True)
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
        axis.set_title(mine["says"][0], fontsize=9, loc="left")
    axes[-1, 0].set_xlabel("difference in % of the base, 95 % interval", fontsize=9)
    with matplotlib.rc_context({"svg.hashsalt": claim}):
        figure.savefig(HERE / f"figure_{claim}.svg", metadata={"Date": None})
    plt.close(figure)
