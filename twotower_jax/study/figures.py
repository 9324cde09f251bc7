"""The figures of a study.

A figure is SVG text drawn without pyplot. It depends on the numbers alone (no date,
no random ids, no matplotlibrc) and takes its ink from `currentColor`, so that it
reads on a light and on a dark page.
"""

import io
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from twotower_jax.study.arms import write_whole
from twotower_jax.study.tables import SLICES, main_metric, main_split, rank_arms

# Okabe and Ito's palette: told apart with any colour vision, on white and on black.
COLOURS = {"main": "#0072B2", "head": "#0072B2", "mid": "#E69F00", "tail": "#009E73"}
MARKERS = {"head": "o", "mid": "s", "tail": "^"}
INK = "#010203"  # stands for the colour of the text, replaced in the SVG
WIDTH, ROW, TOP, BOTTOM = 4.4, 0.56, 0.36, 0.58  # inches; ROW is that of an arm
LABEL = 58  # characters of an arm's name that fit into the width
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "twotower_jax",
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.formatter.useoffset": False,
    "grid.alpha": 0.15,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "grid.color"), INK
    ),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
}


def study_figures(
    table: pl.DataFrame,
    primary: str,
    comparison: pl.DataFrame | None = None,
) -> dict[str, str]:
    """Draw the figures of a study, to be shown beside each other.

    Args:
      table: what `arms.study_table` returns.
      primary: the metric that is drawn and that orders the arms.
      comparison: what `comparison.compare_arms` returns.
    Returns:
      {name: SVG text}: `primary` (each seed, mean and one standard deviation per
      arm), `forest` when the comparison has an interval of the metric (differences to
      the base arm), and, when the runs have it, `slices` (as `primary`, by popularity
      of the item).
    """
    rows = table.filter(pl.col("split") == main_split(table))
    arms = rank_arms(table, primary)
    draw = partial(_dots, rows=rows, metric=primary, arms=arms)
    figures = {"primary": _panel(arms, primary, draw)}
    found = pl.DataFrame() if comparison is None else comparison
    if not found.is_empty():
        found = found.filter(
            (pl.col("metric") == primary) & pl.col("low").is_not_null()
        )
    if not found.is_empty():
        draw = partial(_forest, found=found, arms=arms)
        title = f"{primary}, difference to the base"
        figures["forest"] = _panel(arms, title, draw)
    known = set(rows["metric"])
    for base in (primary, main_metric(table)):
        names = {part: f"{base}/{part}" for part in SLICES}
        if set(names.values()) <= known:
            draw = partial(_slices, rows=rows, names=names, arms=arms)
            figures["slices"] = _panel(arms, f"{base} by item popularity", draw)
            break
    return {name: _own_ids(svg, name) for name, svg in figures.items()}


def write_figures(figures: dict[str, str], folder: str | Path) -> list[Path]:
    """Write each figure to figure_NAME.svg, dark on white, and return the paths.

    A figure of an earlier report that these runs no longer give is removed.
    """
    for name in {"primary", "forest", "slices"} - set(figures):
        (Path(folder) / f"figure_{name}.svg").unlink(missing_ok=True)
    sheet = '<rect width="100%" height="100%" fill="#ffffff"/>'
    paths = []
    for name, svg in figures.items():
        text = svg.replace("currentColor", "#1f2328")
        text = re.sub(r"(<svg[^>]*>)", rf"\1{sheet}", text, count=1)
        paths.append(write_whole(Path(folder) / f"figure_{name}.svg", text))
    return paths


def _panel(arms: list[str], title: str, draw: Callable[[Axes], None]) -> str:
    """Draw one set of axes with a row per arm and return it as SVG text."""
    height = TOP + ROW * len(arms) + BOTTOM
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The browser has the fonts for names that matplotlib's own font cannot write.
        warnings.filterwarnings("ignore", message="Glyph")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(WIDTH, height))
        figure.patch.set_visible(False)
        box = (0.02, BOTTOM / height, 0.95, ROW * len(arms) / height)
        axes = figure.add_axes(box)
        axes.patch.set_visible(False)
        _rows(axes, arms)
        draw(axes)
        figure.text(0.02, 1 - 0.08 / height, title, va="top", weight="bold", size=11)
        buffer = io.StringIO()
        plain = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=plain)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


def _own_ids(svg: str, name: str) -> str:
    """Prefix the ids of an SVG, so that several can stand in one page."""
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}_", svg)


def _rows(axes: Axes, arms: list[str]) -> None:
    """Give each arm a row: a thin line and the name above it."""
    axes.set_ylim(len(arms) - 0.42, -0.58)
    axes.set_yticks([])
    axes.grid(axis="x")
    for row, arm in enumerate(arms):
        name = arm if len(arm) <= LABEL else arm[: LABEL - 1] + "…"
        place = axes.get_yaxis_transform()
        axes.text(
            0, row - 0.42, f"{row + 1}  {name}", transform=place, va="center", size=8.5
        )


def _dots(axes: Axes, rows: pl.DataFrame, metric: str, arms: list[str]) -> None:
    """Draw every seed, the mean and one standard deviation on each side."""
    for row, arm in enumerate(arms):
        _marks(axes, rows, (arm, metric), row, ("o", COLOURS["main"]))
    axes.margins(x=0.06)


def _forest(axes: Axes, found: pl.DataFrame, arms: list[str]) -> None:
    """Draw each arm's difference to the base with its interval, and a line at 0."""
    rows = {row["arm"]: row for row in found.iter_rows(named=True)}
    for height, arm in enumerate(arms):
        # Broken where the name of the arm stands.
        axes.plot([0, 0], [height - 0.2, height + 0.4], color=INK, linewidth=0.8)
        if row := rows.get(arm):
            ends = [row["low"], row["high"]]
            axes.plot(ends, [height] * 2, color=COLOURS["main"], linewidth=1.8)
            axes.plot([row["difference"]], [height], "o", color=COLOURS["main"])
    base = arms.index(found["base"][0])
    axes.plot([0], [base], "o", color=INK, markerfacecolor="none", markersize=7)
    axes.margins(x=0.06)


def _slices(
    axes: Axes, rows: pl.DataFrame, names: dict[str, str], arms: list[str]
) -> None:
    """Draw head, mid and tail below each other in the row of each arm."""
    for row, arm in enumerate(arms):
        for offset, (part, metric) in zip(
            (-0.12, 0.06, 0.24), names.items(), strict=True
        ):
            style = (MARKERS[part], COLOURS[part])
            _marks(axes, rows, (arm, metric), row + offset, style)
    for part in names:
        axes.plot([], [], MARKERS[part], color=COLOURS[part], label=part)
    axes.margins(x=0.06)
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 0.02),
        bbox_transform=axes.get_figure().transFigure,  # type: ignore[union-attr]
        borderaxespad=0,
        borderpad=0,
        ncols=3,
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.5,
    )


def _marks(
    axes: Axes,
    rows: pl.DataFrame,
    key: tuple[str, str],
    height: float,
    style: tuple[str, str],
) -> None:
    """Draw the seeds of one arm and metric faintly, and their mean and sd."""
    arm, metric = key
    marker, colour = style
    found = rows.filter((pl.col("arm") == arm) & (pl.col("metric") == metric))
    values = found["value"].drop_nulls()
    if values.is_empty():
        return
    mean = float(values.mean())  # type: ignore[arg-type]
    axes.plot(
        values,
        [height] * len(values),
        marker,
        color=colour,
        alpha=0.35,
        markersize=4,
        markeredgewidth=0,
    )
    if len(values) > 1:
        sd = float(values.std(ddof=1))  # type: ignore[arg-type]
        axes.plot([mean - sd, mean + sd], [height, height], color=colour, linewidth=1.8)
    axes.plot([mean], [height], marker, color=colour, markersize=6.5)
