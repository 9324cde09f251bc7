"""The cosine contrastive loss by cosine."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses import ccl

COSINE = np.linspace(-0.5, 1, 151)


def draw() -> Figure:
    """Return the positive's term, and that of a negative for two margins."""
    cosine = jnp.asarray(COSINE, jnp.float32)
    none = jnp.full((len(COSINE), 1), -1.0)
    series = {"positive": (COSINE, np.asarray(ccl(cosine, none, margin=0.5)))}
    for margin in (0.2, 0.8):
        loss = ccl(jnp.ones(len(COSINE)), cosine[:, None], margin=margin)
        series[f"negative, margin {margin}"] = COSINE, np.asarray(loss)
    return lines(series, "cosine", "loss")
