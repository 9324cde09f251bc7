"""Ticks of axes whose labels do not collide."""

import math
from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.ticker import AutoLocator, MaxNLocator, NullLocator

TICKS = 5  # at most so many steps between the ticks of an axis


def few_ticks(axes: Axes) -> None:
    """Give linear axes so few ticks that their labels are apart."""
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_locator(), AutoLocator):
            axis.set_major_locator(MaxNLocator(nbins=TICKS, steps=[1, 2, 2.5, 5, 10]))


def log_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Make the x axis logarithmic, with ticks at some of the values."""
    axes.set_xscale("log")
    places = sorted(set(values))
    gap = (math.log(places[-1]) - math.log(places[0])) / TICKS
    kept = places[:1]
    for place in places[1:]:
        if math.log(place / kept[-1]) >= gap * (1 - 1e-9):
            kept.append(place)
    axes.set_xticks(kept, [f"{place:,.6g}" for place in kept])
    axes.xaxis.set_minor_locator(NullLocator())
