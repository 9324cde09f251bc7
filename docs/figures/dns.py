"""Chance that the best of M uniform draws is each item, by rank of its score."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.negatives.dns import dns_log_prob

ITEMS = 1000


def draw() -> Figure:
    """Return one line per number of draws M."""
    scores = -jnp.arange(ITEMS, dtype=jnp.float32)
    log_q = jnp.full(ITEMS, -jnp.log(ITEMS), jnp.float32)
    rank = np.arange(1, ITEMS + 1)
    series = {
        f"best of {draws}": (rank, np.exp(dns_log_prob(scores, log_q, draws)))
        for draws in (1, 2, 8, 32)
    }
    figure = lines(
        series, "rank of the item by score", "probability of a draw", log="xy"
    )
    figure.axes[0].set_ylim(1e-6, 0.1)
    return figure
