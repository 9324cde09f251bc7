"""The optimum under correct=negatives, for few and for many draws."""

import functools

import numpy as np
from matplotlib.figure import Figure

from figures.optimum import ITEMS, Case, optimum, slope, target, uniform
from figures.style import lines

DRAWS = (4, 8, 16, 32, 64, 128)
SHOWN = (4, 8, 32, 128)


@functools.cache
def drift() -> dict[int, np.ndarray]:
    """Return the optimum minus log P by number of uniform draws."""
    truth = np.log(target())
    return {
        draws: optimum(Case(uniform(), draws, "negatives", True)) - truth
        for draws in DRAWS
    }


def draw() -> Figure:
    """Return the drift by rank in bins, one line per number of draws."""
    edges = np.unique(np.geomspace(1, ITEMS + 1, 14).astype(int))
    starts, width = edges[:-1] - 1, np.diff(edges)
    middle = edges[:-1] + (width - 1) / 2
    series = {
        f"{draws} draws": (middle, np.add.reduceat(drift()[draws], starts) / width)
        for draws in SHOWN
    }
    return lines(
        series,
        "rank of the item by clicks",
        "optimum - log P, nats",
        log="x",
        marker="o",
    )


def values() -> dict[str, str]:
    """Return slopes and the drift of the top ten and of the bottom fifty items."""
    truth = np.log(target())
    rows = [
        "| draws per row | slope on log P | top ten, nats | bottom fifty, nats |",
        "|---:|---:|---:|---:|",
    ]
    for draws, moved in drift().items():
        top, bottom = moved[:10].mean(), moved[-50:].mean()
        line = f"| {draws} | {slope(truth + moved):.2f} | {top:+.2f} | {bottom:+.2f} |"
        rows.append(line.replace("-", "\N{MINUS SIGN}"))
    return {
        "table": "\n".join(rows),
        **{f"slope-{k}": f"{slope(truth + moved):.2f}" for k, moved in drift().items()},
    }
