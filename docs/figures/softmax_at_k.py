"""Weight of a row by how far its positive is above the k-th best score."""

import numpy as np
from matplotlib.figure import Figure
from scipy.special import expit

from figures.style import lines

LEAD = np.linspace(-1.5, 1.5, 121)


def draw() -> Figure:
    """Return one line per temperature of the weights."""
    return lines(
        {f"temperature {t}": (LEAD, expit(LEAD / t)) for t in (0.25, 1, 2.5)},
        "cosine of the positive - k-th best cosine",
        "weight",
    )
