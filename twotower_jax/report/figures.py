"""The figures of a study that have a row per arm, and the list of all figures."""

from collections.abc import Callable
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twotower_jax.evaluation.metrics import BUCKETS
from twotower_jax.report.canvas import (
    INK,
    TITLE,
    Drawing,
    draw_svg,
    own_ids,
    shorten,
)
from twotower_jax.report.curves import learning_figures
from twotower_jax.report.response import response_figures
from twotower_jax.report.tradeoff import tradeoff_figures
from twotower_jax.study.load import Study
from twotower_jax.study.tables import main_metric, main_split, rank_arms

COLOURS = {"main": "#0072B2", "head": "#0072B2", "mid": "#E69F00", "tail": "#009E73"}
MARKERS = {"head": "o", "mid": "s", "tail": "^"}
ROW, BOTTOM, LEGEND = 0.56, 0.5, 0.34  # inches; ROW is that of an arm
LABEL = 52  # characters of an arm's name that fit into the width
SEEDS = "Faint: a seed. Strong: the mean of the arm. "
SPREAD = "Bar: one standard deviation over seeds on each side."


def study_figures(study: Study) -> dict[str, Drawing]:
    """Draw the figures of a study, to be shown beside each other.

    Args:
      study: what `load.load_study` returns.
    Returns:
      {name: figure}. `primary` (the primary metric of each arm) is always there; the
      others when the runs have what they show: `forest` (differences to the base
      arm), `slices` (by popularity of the item), `coverage` and `popularity` (the
      primary metric against those of the catalogue), `learning` and `loss` (against
      steps), `response_KEY` (against a key that is swept over numbers).
    """
    table, primary = study.table, study.metric
    rows = table.filter(pl.col("split") == main_split(table))
    arms = rank_arms(table, primary)
    draw = partial(_dots, rows=rows, metric=primary, arms=arms)
    title = f"{primary} of the arms"
    svg = _panel(arms, title, primary, draw)
    figures = {"primary": Drawing(title, SEEDS + SPREAD, svg)}
    found = study.comparison.filter(
        (pl.col("metric") == primary) & pl.col("low").is_not_null()
    )
    if not found.is_empty():
        draw = partial(_forest, found=found, arms=arms)
        title = f"{primary}, difference to the base"
        svg = _panel(arms, title, f"difference in {primary}", draw)
        caption = "Bar: the 95 % interval. Ring: the base arm, at 0."
        figures["forest"] = Drawing(title, caption, svg)
    figures |= _sliced(table, rows, primary, arms)
    figures |= tradeoff_figures(rows, primary, arms)
    figures |= response_figures(study, rows, arms)
    figures |= learning_figures(study, arms)
    return {
        name: one._replace(svg=own_ids(one.svg, name)) for name, one in figures.items()
    }


def _sliced(
    table: pl.DataFrame, rows: pl.DataFrame, primary: str, arms: list[str]
) -> dict[str, Drawing]:
    """Return the figure of the slices of the primary metric, else of recall."""
    known = set(rows["metric"])
    for base in (primary, main_metric(table)):
        names = {part: f"{base}/{part}" for part in BUCKETS}
        if set(names.values()) <= known:
            draw = partial(_slices, rows=rows, names=names, arms=arms)
            title = f"{base} by item popularity"
            svg = _panel(arms, title, base, draw, legend=LEGEND)
            return {"slices": Drawing(title, SEEDS + SPREAD, svg)}
    return {}


def _panel(
    arms: list[str],
    title: str,
    label: str,
    draw: Callable[[Axes], None],
    legend: float = 0,
) -> str:
    """Draw axes with a row per arm; `legend` inches are left free below them."""
    bottom = BOTTOM + legend
    height = TITLE + ROW * len(arms) + bottom

    def fill(figure: Figure) -> None:
        box = (0.05, bottom / height, 0.9, ROW * len(arms) / height)
        axes = figure.add_axes(box)
        axes.patch.set_visible(False)
        axes.set_xlabel(label)
        _rows(axes, arms)
        draw(axes)

    return draw_svg(height, title, fill)


def _rows(axes: Axes, arms: list[str]) -> None:
    """Give each arm a row: a thin line and the name above it."""
    axes.set_ylim(len(arms) - 0.42, -0.58)
    axes.set_yticks([])
    axes.grid(axis="x")
    for row, arm in enumerate(arms):
        name = shorten(arm, LABEL)
        place = axes.get_yaxis_transform()
        axes.text(
            0, row - 0.42, f"{row + 1}  {name}", transform=place, va="center", size=9.5
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
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
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
