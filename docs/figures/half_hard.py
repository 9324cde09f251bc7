"""Expected hard draws of 16 slots over the training, for schedules of the ratio."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.negatives.hard import HardRatio, ratio_at

STEPS, SLOTS = 1000, 16
SCHEDULES = {
    "hard_ratio=0.5": (0.5, 0.5, 0),
    "hard_start=0": (0.0, 0.5, STEPS),
    "hard_start=0, hard_ramp=0.3": (0.0, 0.5, 0.3 * STEPS),
}


def draw() -> Figure:
    """Return one line per schedule."""
    steps = jnp.arange(STEPS)
    series = {}
    for label, (start, end, ramp) in SCHEDULES.items():
        ratio = HardRatio(jnp.float32(start), jnp.float32(end), jnp.float32(ramp))
        share = np.asarray(jax.vmap(lambda step, r=ratio: ratio_at(r, step))(steps))
        share = np.broadcast_to(share, steps.shape)
        series[label] = np.asarray(steps) / STEPS, SLOTS * share
    return lines(series, "share of the training", "expected hard draws of 16")
