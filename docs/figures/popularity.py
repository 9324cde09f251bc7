"""Chance of a draw by popularity rank, for several exponents."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import by_rank, zipf_counts
from twotower_jax.negatives.easy import make_proposal


def draw() -> Figure:
    """Return one line per exponent alpha."""
    series = {}
    for alpha in (0.0, 0.5, 0.75, 1.0):
        proposal = make_proposal("popularity", zipf_counts(), alpha=alpha)
        series[f"alpha = {alpha:g}"] = np.exp(proposal.log_q)
    return by_rank(series, "probability of a draw")
