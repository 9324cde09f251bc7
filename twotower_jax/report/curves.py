"""Learning curves: what metrics.jsonl of the runs says, against steps."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from twotower_jax.report.canvas import Drawing, draw_plane, style
from twotower_jax.study.load import Study
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import Run

Curve = dict[float, float]  # {step: value}
NUMBERED = 16  # ends of lines that can be numbered without overlap


def learning_figures(study: Study, arms: list[str]) -> dict[str, Drawing]:
    """Draw the validation metric and the training loss against steps.

    Args:
      study: what `load.load_study` returns.
      arms: by rank; their places are their numbers.
    Returns:
      `learning` and `loss`; one that no run has at two steps is left out.
    """
    finished = study.runs.finished
    names = name_arms([run.config for run in finished])
    records = [read_records(run.path / "metrics.jsonl") for run in finished]
    sizes = {_batch_size(run) for run in finished}
    # Steps of different size are compared by the examples that they have seen.
    scales = [_batch_size(run) if len(sizes) > 1 else 1 for run in finished]
    label = "examples seen" if len(sizes) > 1 else "steps"
    metric = _valid_metric([one for ones in records for one in ones], study.metric)
    wanted: dict[str, tuple[str, Callable[[dict], Any]]] = {
        "learning": (f"validation {metric}", lambda one: _valid(one).get(metric)),
        "loss": ("training loss", lambda one: one.get("loss")),
    }
    figures = {}
    for figure, (what, value) in wanted.items():
        curves: dict[str, list[Curve]] = {arm: [] for arm in arms}
        for name, ones, scale in zip(names, records, scales, strict=True):
            curves[name].append(_curve(ones, value, scale))
        if max(len(c) for many in curves.values() for c in many) < 2:
            continue
        title = f"{what[0].upper()}{what[1:]} while training"
        legend = [f"{rank}  {arm}" for rank, arm in enumerate(arms, start=1)]
        draw = partial(_lines, curves=curves)
        svg = draw_plane(title, (label, what), legend, draw)
        caption = "Faint: a seed. Strong: the mean of the arm, while all its seeds run."
        if figure == "loss":
            caption += " Losses of different kinds or negatives do not compare."
        figures[figure] = Drawing(title, caption, svg)
    return figures


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of metrics.jsonl that can be read; none without the file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and _is_number(record.get("step")):
            records.append(record)
    return records


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e300 and math.isfinite(value)


def _valid(record: dict[str, Any]) -> dict[str, Any]:
    """Return the validation metrics of a record."""
    found = record.get("valid")
    return found if isinstance(found, dict) else {}


def _valid_metric(records: list[dict[str, Any]], primary: str) -> str:
    """Return the primary metric if it is validated, its plain form, or another."""
    known = dict.fromkeys(name for record in records for name in _valid(record))
    plain = primary.removeprefix("true_").split("/")[0]
    wanted = (primary, plain, "recall@20", *known)
    return next((name for name in wanted if name in known), primary)


def _batch_size(run: Run) -> float:
    training = run.config.get("training")
    size = training.get("batch_size") if isinstance(training, dict) else None
    return float(size) if isinstance(size, int) and _is_number(size) else 1.0


def _curve(
    records: list[dict[str, Any]], value: Callable[[dict], Any], scale: float
) -> Curve:
    pairs = ((record["step"] * scale, value(record)) for record in records)
    return {step: float(number) for step, number in pairs if _is_number(number)}


def _lines(axes: Axes, curves: dict[str, list[Curve]]) -> None:
    """Draw each seed faintly and the mean of the arm over the steps of all seeds."""
    ends = []
    for index, (_, seeds) in enumerate(curves.items()):
        look = style(index)
        told = [seed for seed in seeds if seed]
        for seed in told:
            axes.plot(
                list(seed), list(seed.values()), color=look.colour, alpha=0.25, lw=0.8
            )
        shared = sorted(set.intersection(*map(set, told))) if told else []
        if not shared:
            continue
        means = [float(np.mean([seed[step] for seed in told])) for step in shared]
        marker = look.marker if len(shared) == 1 else None
        axes.plot(shared, means, color=look.colour, ls=look.dash, lw=1.6, marker=marker)
        ends.append((str(index + 1), means[-1], look.colour))
    axes.margins(x=0.02)
    if len(ends) <= NUMBERED:
        _number_ends(axes, ends)


def _number_ends(axes: Axes, ends: list[tuple[str, float, str]]) -> None:
    """Write the numbers of the arms at the right of the axes, pushed apart."""
    ends = sorted(ends, key=lambda end: end[1])
    box = axes.get_position()
    figure = axes.get_figure()
    assert figure is not None
    tall = box.height * figure.get_figheight() * 72  # type: ignore[union-attr]
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
    """Return sorted places moved as little as needed to be `gap` apart in [0, top].

    The nearest such places in the sense of least squares: with the gaps taken off,
    it is the isotonic regression of the places, cut at the bounds. Where `top` has no
    room for all, they end above it.
    """
    if not len(places):
        return places
    steps = gap * np.arange(len(places))
    moved = isotonic_regression(places - steps).x
    return np.clip(moved, 0, max(top - steps[-1], 0)) + steps
