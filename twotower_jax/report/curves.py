"""Learning curves: the records of metrics.jsonl against training steps."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from twotower_jax.data.parse_text import parse_json
from twotower_jax.data.text_files import read_text
from twotower_jax.evaluation.metrics import METRICS, of_scope
from twotower_jax.report.canvas import (
    Drawing,
    draw_plane,
    figure_of,
    legend_height,
    style,
)
from twotower_jax.study.load import Study
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import Run
from twotower_jax.study.tables import PRIMARY

Curve = dict[float, float]  # {step: value}
NUMBERED = 16  # ends of lines that can be numbered without overlap


def learning_figures(study: Study, arms: list[str]) -> dict[str, Drawing]:
    """Figures of the validation metric and of the training loss against steps."""
    finished = study.runs.finished
    records = [read_records(run.path / "metrics.jsonl") for run in finished]
    metric = _valid_metric([one for ones in records for one in ones], study.metric)
    parts: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
        "learning": (f"validation {metric}", lambda one: _valid(one).get(metric)),
        "loss": ("training loss", lambda one: one.get("loss")),
    }
    label, figures = _step_label(finished), {}
    for figure, (quantity, value) in parts.items():
        curves = _curves_of(finished, records, value)
        if max(len(c) for many in curves.values() for c in many) < 2:
            continue
        title = f"{quantity[0].upper()}{quantity[1:]} against {label}"
        legend = [f"{rank}  {arm}" for rank, arm in enumerate(arms, start=1)]
        draw = partial(_lines, curves=[curves[arm] for arm in arms])
        svg = draw_plane(title, (label, quantity), legend, draw)
        caption = (
            "Faint lines: seeds. Strong line: the mean of the arm over the steps that "
            "all its seeds have."
        )
        if figure == "loss":
            caption += (
                " Losses are comparable only between arms with the same loss and the "
                "same negatives."
            )
        figures[figure] = Drawing(title, caption, svg, legend_height(legend))
    return figures


def _curves_of(
    runs: Sequence[Run],
    records: Sequence[list[dict[str, Any]]],
    value: Callable[[dict[str, Any]], Any],
) -> dict[str, list[Curve]]:
    """The curves of each arm's runs."""
    curves: dict[str, list[Curve]] = {}
    names = name_arms([run.config for run in runs])
    for name, run, ones in zip(names, runs, records, strict=True):
        scale = _batch_size(run) if _mixed_sizes(runs) else 1.0
        curves.setdefault(name, []).append(_curve(ones, value, scale))
    return curves


def _mixed_sizes(runs: Sequence[Run]) -> bool:
    """Whether the runs have several batch sizes, which makes steps unequal."""
    return len({_batch_size(run) for run in runs}) > 1


def _step_label(runs: Sequence[Run]) -> str:
    """The label of the x axis: examples where the steps are unequal."""
    return "examples seen" if _mixed_sizes(runs) else "steps"


def read_records(path: Path) -> list[dict[str, Any]]:
    """The readable records of metrics.jsonl that have a step."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError):
        return []
    records = []
    for line in lines:
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if isinstance(record, dict) and _is_number(record.get("step")):
            records.append(record)
    return records


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number below 1e300."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e300 and math.isfinite(value)


def _valid(record: dict[str, Any]) -> dict[str, Any]:
    """The validation metrics of a record."""
    metrics = record.get("valid")
    return metrics if isinstance(metrics, dict) else {}


def _valid_metric(records: list[dict[str, Any]], primary: str) -> str:
    """The validated metric that is nearest to the primary one.

    The primary metric itself, the same quantity on held-out clicks, recall@20, or the
    first metric that is validated.
    """
    validated = dict.fromkeys(name for record in records for name in _valid(record))
    candidates = (primary, _on_clicks(primary), PRIMARY, *validated)
    return next((name for name in candidates if name in validated), primary)


def _on_clicks(name: str) -> str:
    """The metric of held-out clicks with the same formula, without slice."""
    whole = name.partition("/")[0]
    kind, _, cutoff = whole.partition("@")
    if kind not in METRICS:
        return whole
    compute = METRICS[kind].compute
    same = (one for one, m in of_scope("query").items() if m.compute is compute)
    return f"{next(same, kind)}@{cutoff}"


def _batch_size(run: Run) -> float:
    """The number of examples per step, 1 where it is unknown."""
    training = run.config.get("training")
    size = training.get("batch_size") if isinstance(training, dict) else None
    return float(size) if isinstance(size, int) and _is_number(size) else 1.0


def _curve(
    records: list[dict[str, Any]],
    value: Callable[[dict[str, Any]], Any],
    scale: float,
) -> Curve:
    """A value of each record that has it, by scaled step."""
    pairs = ((record["step"] * scale, value(record)) for record in records)
    return {step: float(number) for step, number in pairs if _is_number(number)}


def _lines(axes: Axes, curves: list[list[Curve]]) -> None:
    """Draw each seed faintly, and the arm's mean over the steps of all its seeds."""
    ends = []
    for index, every in enumerate(curves):
        look = style(index)
        seeds = [curve for curve in every if curve]
        for seed in seeds:
            axes.plot(
                list(seed), list(seed.values()), color=look.colour, alpha=0.25, lw=0.8
            )
        shared = sorted(set.intersection(*map(set, seeds))) if seeds else []
        if not shared:
            continue
        means = [float(np.mean([seed[step] for seed in seeds])) for step in shared]
        marker = look.marker if len(shared) == 1 else None
        axes.plot(shared, means, color=look.colour, ls=look.dash, lw=1.6, marker=marker)
        ends.append((str(index + 1), means[-1], look.colour))
    axes.margins(x=0.02)
    if len(ends) <= NUMBERED:
        _number_ends(axes, ends)


def _number_ends(axes: Axes, ends: list[tuple[str, float, str]]) -> None:
    """Write the numbers of the arms to the right of the axes, pushed apart."""
    ends = sorted(ends, key=lambda end: end[1])
    points = 72 * figure_of(axes).get_figheight()
    tall = axes.get_position().height * points
    low, high = axes.get_ylim()
    places = np.array([(value - low) / (high - low) * tall for _, value, _ in ends])
    for (text, _, colour), place in zip(
        ends, push_apart(places, 10, tall), strict=True
    ):
        at = (1.02, place / tall)
        axes.plot(
            *[[one] for one in at],
            marker="s",
            markersize=4,
            color=colour,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.annotate(
            text,
            at,
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            size=9,
        )


def push_apart(places: np.ndarray, gap: float, top: float) -> np.ndarray:
    """Places moved as little as needed to be `gap` apart within [0, top].

    The result has the least sum of squared moves. Without the gaps it is the isotonic
    regression of the places, clipped at the bounds. If `top` has no room for all
    places, the last ones lie above it.
    """
    if not len(places):
        return places
    steps = gap * np.arange(len(places))
    moved = isotonic_regression(places - steps).x
    return np.clip(moved, 0, max(top - steps[-1], 0)) + steps
