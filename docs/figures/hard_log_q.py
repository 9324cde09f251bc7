"""Weight of a hard draw in the softmax under the three corrections."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.negatives.frequency import log_expected_count

ITEMS, POOL, SLOTS = 20_000, 50, 16
RATIOS = np.linspace(0.02, 0.98, 49)


def draw() -> Figure:
    """Return 1 / N of an item in the pool, by hard ratio."""
    ratio = jnp.asarray(RATIOS, jnp.float32)
    easy, pool = -jnp.log(jnp.float32(ITEMS)), -jnp.log(jnp.float32(POOL))
    mixture = log_expected_count((easy, SLOTS * (1 - ratio)), (pool, SLOTS * ratio))
    as_easy = log_expected_count((easy, jnp.full(len(RATIOS), SLOTS)))
    return lines(
        {
            "easy": (RATIOS, np.exp(-as_easy)),
            "mixture": (RATIOS, np.exp(-mixture)),
            "none": (RATIOS, np.ones(len(RATIOS))),
        },
        "hard_ratio",
        "weight of a hard draw, 1 / N",
        log="y",
    )
