"""The primary metric against coverage and popularity of the recommended items."""

import re
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from twotower_jax.report.canvas import (
    Drawing,
    draw_plane,
    figure_of,
    legend_height,
    style,
)

# {figure: (metric without cutoff, label of its axis)}
AGAINST = {
    "coverage": ("coverage", "share of the catalogue"),
    "popularity": ("arp", "mean popularity of items"),
}
# Positions of an arm's number beside its mark, in points, best first.
PLACES = [(x, y) for x in (7, -7, 0) for y in (6, -6, 0) if x or y]
PLACES = [(near * x, near * y) for near in (1, 2, 3) for x, y in PLACES]


def tradeoff_figures(
    rows: pl.DataFrame, primary: str, arms: list[str]
) -> dict[str, Drawing]:
    """Figures of the primary metric against coverage and against mean popularity."""
    names = [f"{rank}  {arm}" for rank, arm in enumerate(arms, start=1)]
    figures = {}
    for figure, (stem, label) in AGAINST.items():
        metric = _at_cutoff(set(rows["metric"]), stem, primary)
        if metric is None:
            continue
        title = f"{primary} against {metric}"
        points = _points(rows, metric, primary)
        draw = partial(_scatter, points=points, arms=arms)
        svg = draw_plane(title, (f"{label}, {metric}", primary), names, draw)
        caption = (
            "Faint marks: seeds. Strong mark: the mean of the arm. The numbers are "
            "those of the first table."
        )
        figures[figure] = Drawing(title, caption, svg, legend_height(names))
    return figures


def _at_cutoff(metrics: set[str], stem: str, primary: str) -> str | None:
    """Return stem@k with the cutoff of the primary metric, else the smallest one."""
    by_cutoff = {
        int(match[1]): name
        for name in metrics
        if (match := re.fullmatch(rf"{stem}@(\d+)", name))
    }
    cutoff = match[1] if (match := re.search(r"@(\d+)", primary)) else "20"
    smallest = by_cutoff[min(by_cutoff)] if by_cutoff else None
    return by_cutoff.get(int(cutoff), smallest)


def _points(rows: pl.DataFrame, x: str, y: str) -> pl.DataFrame:
    """Return arm, x and y, one row per run that has both."""
    values = [
        rows.filter(pl.col("metric") == name).select("arm", "run", value)
        for name, value in ((x, pl.col("value").alias("x")), (y, pl.col("value")))
    ]
    joined = values[0].join(values[1].rename({"value": "y"}), on=["arm", "run"])
    return joined.drop_nulls()


def _scatter(axes: Axes, points: pl.DataFrame, arms: list[str]) -> None:
    """Draw seeds and means, and number the means without overlap."""
    means = []
    for index, arm in enumerate(arms):
        x, y = points.filter(pl.col("arm") == arm).select("x", "y").to_numpy().T
        if not len(x):
            continue
        look = style(index)
        axes.plot(
            x,
            y,
            look.marker,
            color=look.colour,
            alpha=0.35,
            markersize=4,
            markeredgewidth=0,
        )
        axes.plot([x.mean()], [y.mean()], look.marker, color=look.colour, markersize=6)
        means.append((str(index + 1), float(x.mean()), float(y.mean())))
    axes.margins(0.1)
    number_points(axes, means)


def number_points(axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """Write a text beside each point, at a position that covers no mark and no text."""
    scale = figure_of(axes).dpi / 72
    axes.get_xlim()  # settles the limits that the places depend on
    at = axes.transData.transform([(x, y) for _, x, y in points]) if points else []
    size = 6 * scale  # of a mark
    taken = [Bbox.from_bounds(x - size / 2, y - size / 2, size, size) for x, y in at]
    for (text, x, y), (left, low) in zip(points, at, strict=True):
        wide = (5 * len(text) + 1) * scale
        boxes = {
            place: Bbox.from_bounds(
                left + place[0] * scale - wide / 2,
                low + place[1] * scale - 4.5 * scale,
                wide,
                9 * scale,
            )
            for place in PLACES
        }
        free = (p for p, box in boxes.items() if not box.count_overlaps(taken))
        place = next(free, PLACES[0])
        taken.append(boxes[place])
        axes.annotate(
            text,
            (x, y),
            xytext=place,
            textcoords="offset points",
            ha="center",
            va="center",
            size=9,
        )
