"""How hard a negative is pushed in hcl, by its cosine and the concentration."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses import debiased

POSITIVE, TEMPERATURE = 0.5, 0.14
COSINES = np.linspace(-0.5, 0.6, 57)


def draw() -> Figure:
    """Return the gradient of the loss on each of 57 negatives."""
    series = {}
    for beta in (0.0, 0.5, 1.0):
        gradient = jax.grad(
            lambda negatives, beta=beta: debiased(
                jnp.array([POSITIVE / TEMPERATURE]),
                negatives[None, :] / TEMPERATURE,
                tau_plus=0.0,
                beta=beta,
                temperature=TEMPERATURE,
            ).sum()
        )(jnp.asarray(COSINES, jnp.float32))
        series[f"beta {beta:g}"] = COSINES, np.asarray(gradient)
    return lines(series, "cosine of the negative", "push")
