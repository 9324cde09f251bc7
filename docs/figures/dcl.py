"""The debiased loss by how far the positive is ahead of its negatives."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses import debiased

LEAD = np.linspace(-0.5, 1.0, 151)
TEMPERATURE, NEGATIVES = 0.14, 100


def draw() -> Figure:
    """Return one line per share of false negatives."""
    positive = jnp.asarray(LEAD / TEMPERATURE, jnp.float32)
    negatives = jnp.zeros((len(LEAD), NEGATIVES))
    series = {}
    for share in (0.0, 0.01, 0.05):
        loss = debiased(positive, negatives, tau_plus=share, temperature=TEMPERATURE)
        series[f"share {share:g}"] = LEAD, np.asarray(loss)
    return lines(series, "cosine of the positive - cosine of its negatives", "loss")
