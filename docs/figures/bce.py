"""Loss of the positive and of its negatives, by logit."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses import bce

LOGITS = np.linspace(-6, 6, 121)
FAR = 40.0  # a logit whose own loss is 0


def draw() -> Figure:
    """Return the positive's part, and the negatives' for two ratios."""
    logits = jnp.asarray(LOGITS, jnp.float32)
    right = jnp.full(len(LOGITS), FAR)
    series = {"positive": (LOGITS, np.asarray(bce(logits, -right[:, None])))}
    for ratio in (1.0, 3.0):
        part = bce(right, logits[:, None], ratio=ratio)
        series[f"negatives, ratio {ratio:g}"] = LOGITS, np.asarray(part)
    return lines(series, "logit (cosine / temperature)", "loss")
