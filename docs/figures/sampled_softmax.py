"""How hard a negative is pushed, by its cosine and the temperature."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses import sampled_softmax

POSITIVE = 0.5
COSINES = np.linspace(-0.5, 0.9, 57)


def draw() -> Figure:
    """Return the gradient of the loss on each of 57 negatives."""
    series = {}
    for temperature in (0.05, 0.1, 0.2, 1.0):
        gradient = jax.grad(
            lambda negatives, t=temperature: sampled_softmax(
                jnp.array([POSITIVE / t]), negatives[None, :] / t
            ).sum()
        )(jnp.asarray(COSINES, jnp.float32))
        share = np.asarray(gradient) / np.asarray(gradient).sum()
        series[f"temperature {temperature}"] = COSINES, share
    return lines(series, "cosine of the negative", "share of the push", log="y")
