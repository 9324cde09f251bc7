"""The optimum under correct=all: exact for any number of draws without a mask."""

import functools

import numpy as np
from matplotlib.figure import Figure

from figures.optimum import ITEMS, Case, optimum, slope, target, uniform
from figures.style import lines
from twotower_jax.negatives.easy import make_proposal

DRAWS = (2, 4, 8, 32, 128)


@functools.cache
def slopes() -> dict[str, list[float]]:
    """Return the slope of the optimum on log P, by number of draws, for four cases."""
    clicks = make_proposal("popularity", 10_000 * target())
    cases = {
        "all, no mask, uniform draws": (uniform(), "all", False),
        "all, no mask, draws by clicks": (clicks, "all", False),
        "all, same_item, draws by clicks": (clicks, "all", True),
        "negatives, same_item, uniform draws": (uniform(), "negatives", True),
    }
    return {
        label: [slope(optimum(Case(q, draws, correct, mask))) for draws in DRAWS]
        for label, (q, correct, mask) in cases.items()
    }


def draw() -> Figure:
    """Return the slopes, one line per case."""
    series = {
        label: (np.array(DRAWS), np.array(found)) for label, found in slopes().items()
    }
    return lines(
        series, "draws per row", "slope of the optimum on log P", log="x", marker="o"
    )


def values() -> dict[str, str]:
    """Return the slopes at 2 and at 128 draws."""
    keys = ("uniform", "clicks", "masked", "negatives")
    found = {"items": str(ITEMS)}
    for key, values in zip(keys, slopes().values(), strict=True):
        by_draws = dict(zip(DRAWS, values, strict=True))
        found |= {f"{key}-{k}": f"{value:.2f}" for k, value in by_draws.items()}
    return found
