"""All figures of a study, and the drawing of those with a row per arm."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twotower_jax.errors import InputError
from twotower_jax.evaluation.metrics import BUCKETS
from twotower_jax.report.canvas import (
    INK,
    TITLE,
    Drawing,
    draw_figure,
    draw_svg,
    figure_of,
    shorten,
)
from twotower_jax.report.curves import learning_figures
from twotower_jax.report.figure_files import own_ids
from twotower_jax.report.response import response_figures
from twotower_jax.report.ticks import few_ticks
from twotower_jax.report.tradeoff import tradeoff_figures
from twotower_jax.study.cautions import arm_marks
from twotower_jax.study.load import Study
from twotower_jax.study.tables import main_metric, main_split, rank_arms
from twotower_jax.study.trained import BASELINE

Drawn = TypeVar("Drawn")
BLUE = "#0072B2"
BUCKET_LOOKS: dict[str, tuple[str, str]] = dict(
    zip(BUCKETS, (("o", BLUE), ("s", "#E69F00"), ("^", "#009E73")), strict=True)
)
BUCKET_OFFSETS = (-0.12, 0.06, 0.24)  # of head, mid and tail within the row of an arm
ROW, BOTTOM, BUCKET_LEGEND = 0.56, 0.5, 0.34  # heights in inches; ROW is that of an arm
LABEL = 52  # characters of an arm's name that fit into the width
GREY = "0.45"  # of baselines, which are no arms of the question
SEEDS = (
    "Faint marks: seeds. Strong mark: the mean of the arm. Bar: one standard deviation "
    "over seeds on each side."
)


def study_figures(study: Study) -> dict[str, Drawing]:
    """All figures of a study, in the order of the report.

    Returns:
      {name: figure}. `primary` (the primary metric of each arm) always exists. The
      others exist if the runs have their data: `forest` (differences to the base
      arm), `forest_rival` (to the rival), `slices` (by popularity of the item),
      `coverage` and `popularity` (the primary metric against those of the catalogue),
      `response_KEY` (against a key that is swept over numbers), `learning` and `loss`
      (against steps).
    """
    table, primary = study.table, study.metric
    rows = table.filter(pl.col("split") == main_split(table))
    colours = _colours(study)
    arms = list(colours)
    draw = partial(_dots, rows=rows, metric=primary, arms=colours)
    title = f"{primary} of the arms"
    svg = draw_svg(*_panel(arms, title, primary, draw))
    grey = " Grey: a baseline." if GREY in colours.values() else ""
    figures = {"primary": Drawing(title, SEEDS + grey, svg)}
    for name, compared, base in (
        ("forest", study.comparison, "the base arm"),
        ("forest_rival", study.rivalled, study.rival),
    ):
        title = f"{primary}, difference to {base}"
        if svg := _differences(compared, primary, title, colours, draw_svg):
            caption = (
                "Bar: the interval of the table, which decides the verdict. Ring: "
                f"{base}, at 0."
            )
            figures[name] = Drawing(title, caption + grey, svg)
    figures |= _sliced(table, rows, primary, arms)
    figures |= tradeoff_figures(rows, primary, arms)
    figures |= response_figures(study, rows, arms)
    figures |= learning_figures(study, arms)
    return {
        name: one._replace(svg=own_ids(one.svg, name)) for name, one in figures.items()
    }


def difference_figure(study: Study) -> Figure:
    """The differences to the base arm as a figure of matplotlib."""
    title = f"{study.metric}, difference to the base arm"
    colours = _colours(study)
    figure = _differences(study.comparison, study.metric, title, colours, draw_figure)
    if figure is None:
        raise InputError(
            f"{study.metric}: no arm has an interval beside {study.base}; the runs of "
            "two arms need a seed in common and queries.parquet"
        )
    return figure


def _differences(
    comparison: pl.DataFrame,
    metric: str,
    title: str,
    colours: dict[str, str],
    make: Callable[..., Drawn],
) -> Drawn | None:
    """Return what `make` makes of the differences; None without an interval."""
    compared = comparison.filter(
        (pl.col("metric") == metric) & pl.col("low_verdict").is_not_null()
    )
    if compared.is_empty():
        return None
    draw = partial(_forest, compared=compared, arms=colours)
    return make(*_panel(list(colours), title, f"difference in {metric}", draw))


def _colours(study: Study) -> dict[str, str]:
    """Return the colour of each arm, best first."""
    arms = rank_arms(study.table, study.metric)
    marks = arm_marks(study, arms)
    return {arm: GREY if marks[arm] == BASELINE else BLUE for arm in arms}


def _sliced(
    table: pl.DataFrame, rows: pl.DataFrame, primary: str, arms: list[str]
) -> dict[str, Drawing]:
    """Return the figure of the slices of the primary metric, else of recall."""
    present = set(rows["metric"])
    for base in (primary, main_metric(table)):
        names = {part: f"{base}/{part}" for part in BUCKETS}
        if set(names.values()) <= present:
            draw = partial(_slices, rows=rows, names=names, arms=arms)
            title = f"{base} by item popularity"
            svg = draw_svg(*_panel(arms, title, base, draw, legend=BUCKET_LEGEND))
            return {"slices": Drawing(title, SEEDS, svg)}
    return {}


def _panel(
    arms: list[str],
    title: str,
    label: str,
    draw: Callable[[Axes], None],
    legend: float = 0,
) -> tuple[float, str, Callable[[Figure], None]]:
    """Return the height, the title and the drawing of axes with a row per arm.

    Below them are `legend` inches of space.
    """
    bottom = BOTTOM + legend
    height = TITLE + ROW * len(arms) + bottom

    def fill(figure: Figure) -> None:
        box = (0.05, bottom / height, 0.9, ROW * len(arms) / height)
        axes = figure.add_axes(box)
        axes.patch.set_visible(False)
        axes.set_xlabel(label)
        _rows(axes, arms)
        draw(axes)
        few_ticks(axes)
        _grid(axes, len(arms))

    return height, title, fill


def _rows(axes: Axes, arms: list[str]) -> None:
    """Give each arm a row with its number and name above its marks."""
    axes.set_ylim(len(arms) - 0.42, -0.58)
    axes.set_yticks([])
    for row, arm in enumerate(arms):
        name = shorten(arm, LABEL)
        place = axes.get_yaxis_transform()
        axes.text(
            0, row - 0.42, f"{row + 1}  {name}", transform=place, va="center", size=9.5
        )


def _grid(axes: Axes, rows: int) -> None:
    """Draw a line at each tick within each row, which leaves out the name above it."""
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    for row in range(rows):
        axes.vlines(
            ticks, row - 0.24, row + 0.4, color=INK, alpha=0.15, linewidth=0.8, zorder=0
        )
    axes.set_xlim(low, high)


def _dots(axes: Axes, rows: pl.DataFrame, metric: str, arms: dict[str, str]) -> None:
    """Draw every seed, the mean and one standard deviation in the arm's colour."""
    for row, (arm, colour) in enumerate(arms.items()):
        values = _values(rows, arm, metric)
        _marks(axes, values, row, ("o", colour))
    axes.margins(x=0.06)


def _forest(axes: Axes, compared: pl.DataFrame, arms: dict[str, str]) -> None:
    """Draw each arm's difference to the base with its interval, and a line at 0."""
    rows = {row["arm"]: row for row in compared.iter_rows(named=True)}
    for height, (arm, colour) in enumerate(arms.items()):
        # The line leaves out the name of the arm.
        axes.plot([0, 0], [height - 0.2, height + 0.4], color=INK, linewidth=0.8)
        if row := rows.get(arm):
            ends = [row["low_verdict"], row["high_verdict"]]
            axes.plot(ends, [height] * 2, color=colour, linewidth=1.8)
            axes.plot([row["difference"]], [height], "o", color=colour)
    base = list(arms).index(compared["base"][0])
    axes.plot([0], [base], "o", color=INK, markerfacecolor="none", markersize=7)
    axes.margins(x=0.06)


def _slices(
    axes: Axes, rows: pl.DataFrame, names: dict[str, str], arms: list[str]
) -> None:
    """Draw head, mid and tail below each other in the row of each arm."""
    for row, arm in enumerate(arms):
        for offset, (part, metric) in zip(BUCKET_OFFSETS, names.items(), strict=True):
            values = _values(rows, arm, metric)
            _marks(axes, values, row + offset, BUCKET_LOOKS[part])
    for part in names:
        marker, colour = BUCKET_LOOKS[part]
        axes.plot([], [], marker, color=colour, label=part)
    axes.margins(x=0.06)
    figure = figure_of(axes)
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 0.05 / figure.get_figheight()),
        bbox_transform=figure.transFigure,
        borderaxespad=0,
        borderpad=0,
        ncols=3,
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.5,
    )


def _values(rows: pl.DataFrame, arm: str, metric: str) -> np.ndarray:
    """Return a metric of an arm's seeds, [seeds] float64."""
    chosen = rows.filter((pl.col("arm") == arm) & (pl.col("metric") == metric))
    return chosen["value"].drop_nulls().to_numpy()


def _marks(
    axes: Axes, values: np.ndarray, height: float, look: tuple[str, str]
) -> None:
    """Draw the values of seeds faintly, and their mean and standard deviation."""
    if not len(values):
        return
    marker, colour = look
    mean = float(values.mean())
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
        sd = float(values.std(ddof=1))
        axes.plot([mean - sd, mean + sd], [height, height], color=colour, linewidth=1.8)
    axes.plot([mean], [height], marker, color=colour, markersize=6.5)
