"""The logistic loss by how far the positive is ahead."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses import logistic

LEAD = np.linspace(-0.6, 1.0, 161)


def draw() -> Figure:
    """Return one line per temperature, each times the temperature."""
    series = {}
    for temperature in (0.05, 0.1, 0.2, 0.5):
        positive = jnp.asarray(LEAD / temperature, jnp.float32)
        loss = logistic(positive, jnp.zeros((len(LEAD), 1)))
        series[f"temperature {temperature}"] = LEAD, temperature * np.asarray(loss)
    return lines(
        series,
        "cosine of the positive - cosine of the negative",
        "loss times temperature",
    )
