"""The look of the figures, and the catalogue that most of them show."""

import io
import re
from collections.abc import Mapping
from html import escape

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Colours that are readable on a light and on a dark page.
COLOURS = ("#3f87cf", "#dd7f26", "#2a9d78", "#c7569a", "#8d6bd1", "#b0912a", "#7f868f")
# Stands for the page's text colour, which only the page knows.
INK = "#010203"
STYLE = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "svg.fonttype": "none",
    "svg.hashsalt": "twotower_jax",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
ITEMS, CLICKS = 1_000, 100_000


def zipf_counts(items: int = ITEMS, clicks: int = CLICKS) -> np.ndarray:
    """Return clicks per item, the most clicked item first: [items] int64.

    Proportional to 1 / rank and at least 1, about as many clicks as asked for.
    """
    share = 1 / np.arange(1, items + 1)
    return np.maximum(1, np.rint(clicks * share / share.sum())).astype(np.int64)


def axes(xlabel: str, ylabel: str, *, log: str = "", height: float = 3.2) -> Axes:
    """Return empty axes of a new figure.

    Args:
      xlabel, ylabel: labels, with units where there are any.
      log: the axes with a logarithmic scale, "", "x", "y" or "xy".
      height: of the figure, in inches.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4, height), layout="constrained")
        FigureCanvasSVG(figure)
        one = figure.add_subplot()
        one.set_xlabel(xlabel)
        one.set_ylabel(ylabel)
        one.grid(color=INK, alpha=0.15, linewidth=0.8)
        if "x" in log:
            one.set_xscale("log")
        if "y" in log:
            one.set_yscale("log")
    return one


def lines(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    xlabel: str,
    ylabel: str,
    *,
    log: str = "",
    marker: str = "",
) -> Figure:
    """Return a figure of one line per entry of ``series``: label to (x, y)."""
    one = axes(xlabel, ylabel, log=log)
    with mpl.rc_context(STYLE):
        for label, (x, y) in series.items():
            one.plot(x, y, label=label, marker=marker)
        if len(series) > 1:
            one.legend()
    return one.figure


def by_rank(
    series: Mapping[str, np.ndarray], ylabel: str, *, log: str = "xy"
) -> Figure:
    """Return lines over the rank of an item by clicks, from 1."""
    placed = {
        label: (np.arange(1, len(values) + 1), np.asarray(values))
        for label, values in series.items()
    }
    return lines(placed, "rank of the item by clicks", ylabel, log=log)


def svg(figure: Figure, name: str, label: str) -> str:
    """Return a figure as SVG to stand within a page.

    Args:
      figure: the figure.
      name: prefix of the ids, which have to be distinct within a page.
      label: the text for screen readers.
    """
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text)
    text = re.sub(r"font: ([\d.]+)px '[^;\"]*", r"font-size: \1px", text)
    text = text.replace(INK, "currentColor")
    label = escape(label, quote=True)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
