"""The pairwise softmax of one negative by how far the positive is ahead."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses import psl, sampled_softmax
from twotower_jax.losses.cosine import ACTIVATIONS

LEAD = np.linspace(-1.5, 1.5, 121)
TEMPERATURE = 0.05


def draw() -> Figure:
    """Return one line per surrogate, and that of the softmax."""
    positive = jnp.asarray(LEAD / TEMPERATURE, jnp.float32)
    negative = jnp.zeros((len(LEAD), 1))
    series = {}
    for name in ACTIVATIONS:
        loss = psl(positive, negative, temperature=TEMPERATURE, activation=name)
        series[f"{name}, temperature {TEMPERATURE}"] = LEAD, np.asarray(loss)
    loss = sampled_softmax(positive / 2, negative, decoupled=True)
    series[f"softmax, temperature {2 * TEMPERATURE}"] = LEAD, np.asarray(loss)
    return lines(series, "cosine of the positive - cosine of the negative", "loss")
