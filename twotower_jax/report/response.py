"""Response curves: the primary metric against a key that is swept over numbers."""

import copy
import math
import re
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from scipy import stats

from twotower_jax.report.canvas import INK, Drawing, draw_plane, style
from twotower_jax.report.ticks import log_ticks
from twotower_jax.study.load import Study
from twotower_jax.study.naming import differing_keys, name_arms, short_key
from twotower_jax.study.spread import LEVEL

WIDE = 20  # values whose largest is this many times the smallest get a log axis


class CurvePoint(NamedTuple):
    """An arm on a response curve.

    Attributes:
      x: the arm's value of the key.
      values: [runs] float64, the primary metric.
    """

    x: float
    values: np.ndarray


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
    """Return the number at a dotted key, None for any other value."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def _without(config: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a configuration without a dotted key and without its label."""
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

    Examples:
      >>> round(half_width(np.array([0.1, 0.2, 0.3])), 4)
      0.2484
    """
    number = len(values)
    if number < 2:
        return 0.0
    quantile = stats.t.ppf((1 + LEVEL) / 2, number - 1)
    return float(quantile * values.std(ddof=1) / math.sqrt(number))
