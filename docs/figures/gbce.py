"""Weight of the positive's term in gbce, by the share of items that are drawn."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses import gbce

ITEMS = 100_001
DRAWS = np.geomspace(1, ITEMS - 1, 61)


def draw() -> Figure:
    """Return beta = gbce's positive term / bce's, one line per calibration t."""
    weight = jnp.asarray(DRAWS, jnp.float32)[:, None]
    zero, far = jnp.zeros(len(DRAWS)), jnp.full((len(DRAWS), 1), -200.0)
    series = {}
    for calibration in (0.0, 0.5, 0.75, 1.0):
        loss = gbce(zero, far, weight, num_items=ITEMS, calibration=calibration)
        beta = np.asarray(loss) / np.log(2)
        series[f"calibration {calibration:g}"] = DRAWS / (ITEMS - 1), beta
    return lines(series, "sampling rate, draws / other items", "beta", log="x")
