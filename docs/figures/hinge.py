"""The hinge loss by how far the positive is ahead."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses import hinge

LEAD = np.linspace(-0.6, 1.0, 161)


def draw() -> Figure:
    """Return one line per margin."""
    positive = jnp.asarray(LEAD, jnp.float32)
    negative = jnp.zeros((len(LEAD), 1))
    return lines(
        {
            f"margin {margin}": (
                LEAD,
                np.asarray(hinge(positive, negative, margin=margin)),
            )
            for margin in (0.1, 0.2, 0.5)
        },
        "cosine of the positive - cosine of the negative",
        "loss",
    )
