"""All figures of a study, and the drawing of those with a row per arm."""

import copy
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from scipy import stats

from twotower_jax.errors import InputError
from twotower_jax.evaluation.metrics import BUCKETS
from twotower_jax.report.canvas import (
    INK,
    TITLE,
    Drawing,
    draw_figure,
    draw_plane,
    draw_svg,
    few_ticks,
    figure_of,
    legend_height,
    log_ticks,
    own_ids,
    shorten,
    style,
)
from twotower_jax.report.curves import learning_figures
from twotower_jax.study.cautions import arm_marks
from twotower_jax.study.load import Study
from twotower_jax.study.naming import differing_keys, name_arms, short_key
from twotower_jax.study.statistics import LEVEL
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
    """All figures of a study, in the order of the report."""
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
    """The colour of each arm, best first."""
    arms = rank_arms(study.table, study.metric)
    marks = arm_marks(study, arms)
    return {arm: GREY if marks[arm] == BASELINE else BLUE for arm in arms}


def _sliced(
    table: pl.DataFrame, rows: pl.DataFrame, primary: str, arms: list[str]
) -> dict[str, Drawing]:
    """The figure of the slices of the primary metric, else of recall."""
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
    """The height, the title and the drawing of axes with a row per arm.

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
    """A metric of an arm's seeds, [seeds] float64."""
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


WIDE = 20  # values whose largest is this many times the smallest get a log axis


class CurvePoint(NamedTuple):
    """An arm on a response curve."""

    x: float  # the arm's value of the key
    values: np.ndarray  # [runs] float64, the primary metric


def response_figures(
    study: Study, rows: pl.DataFrame, arms: list[str]
) -> dict[str, Drawing]:
    """Figures of the primary metric against each key that is swept over numbers.

    A line joins the arms that differ in that key alone. A key without such a line has
    no figure.
    """
    configs = [run.config for run in study.runs.finished]
    by_arm = dict(zip(name_arms(configs), configs, strict=True))
    primary = rows.filter(pl.col("metric") == study.metric).drop_nulls("value")
    values = {
        arm: primary.filter(pl.col("arm") == arm)["value"].to_numpy() for arm in arms
    }
    base = values.get(study.base, [])
    figures = {}
    for key in differing_keys(configs):
        lines = _lines_of(key, by_arm, values)
        if not lines:
            continue
        title = f"{study.metric} against {short_key(key)}"
        level = float(np.mean(base)) if len(base) else None
        draw = partial(_curves, lines=list(lines.values()), base=level)
        names = list(lines) if len(lines) > 1 else []
        svg = draw_plane(title, (key, study.metric), names, draw)
        caption = (
            "Points: the mean over seeds; with several seeds, bars are its 95 % t "
            "interval."
        )
        caption += f" Dotted: the base arm, {study.base}." if level is not None else ""
        name = f"response_{re.sub(r'[^0-9A-Za-z]+', '_', key)}"
        figures[name] = Drawing(title, caption, svg)
    return figures


def _lines_of(
    key: str, of_arm: dict[str, dict[str, Any]], values: dict[str, np.ndarray]
) -> dict[str, list[CurvePoint]]:
    """Return {name: points by x} of the arms that differ in a numeric key alone."""
    numeric = {
        arm: number
        for arm, config in of_arm.items()
        if (number := _number_at(config, key)) is not None and len(values[arm])
    }
    others = name_arms([_without(of_arm[arm], key) for arm in numeric])
    lines: dict[str, list[CurvePoint]] = {}
    for (arm, number), name in zip(numeric.items(), others, strict=True):
        lines.setdefault(name, []).append(CurvePoint(number, values[arm]))
    return {
        name: sorted(points, key=lambda point: point.x)
        for name, points in sorted(lines.items())
        if len({point.x for point in points}) > 1
    }


def _number_at(config: dict[str, Any], key: str) -> float | None:
    """The number at a dotted key, None for any other value."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def _without(config: dict[str, Any], key: str) -> dict[str, Any]:
    """A configuration without a dotted key and without its label."""
    copied = copy.deepcopy(config)
    *sections, last = key.split(".")
    place = copied
    for section in sections:
        place = place[section]
    del place[last]
    copied.pop("arm", None)
    return copied


def _curves(axes: Axes, lines: list[list[CurvePoint]], base: float | None) -> None:
    """Draw each line with the intervals of its points, and the base arm's level."""
    every = [point.x for line in lines for point in line]
    if min(every) > 0 and max(every) / min(every) >= WIDE:
        log_ticks(axes, every)
    if base is not None:
        axes.axhline(base, color=INK, linewidth=0.9, linestyle=":")
    for index, line in enumerate(lines):
        look = style(index)
        x = [point.x for point in line]
        axes.errorbar(
            x,
            [float(point.values.mean()) for point in line],
            yerr=[half_width(point.values) for point in line],
            color=look.colour,
            linestyle=look.dash,
            marker=look.marker,
            markersize=5,
            linewidth=1.4,
            elinewidth=1,
            capsize=2,
        )
    axes.margins(x=0.05)


def half_width(values: np.ndarray) -> float:
    """Half the width of the t interval of the mean over seeds.

    t_{(1 + level) / 2, n - 1} * sd / sqrt(n), sd with ddof 1.
    """
    number = len(values)
    if number < 2:
        return 0.0
    quantile = stats.t.ppf((1 + LEVEL) / 2, number - 1)
    return float(quantile * values.std(ddof=1) / math.sqrt(number))


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
            "those of the legend."
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
