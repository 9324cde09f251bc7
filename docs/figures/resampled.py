"""Share of each item among draws that are resampled from pools, by its rank."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.negatives.resampled import resampled_log_prob

SIZES, ITEMS, POOLS, TEMPERATURE = (4, 32, 256), 100, 4_000, 0.1


def draw() -> Figure:
    """Return the figure."""
    rank = np.arange(ITEMS)
    logits = np.linspace(0.5, -0.1, ITEMS) / TEMPERATURE
    rng = np.random.default_rng(0)
    curves = {
        f"pool of {size}": (rank + 1, mean_share(size, logits, rng)) for size in SIZES
    }
    softmax = np.exp(logits) / np.exp(logits).sum()
    curves["softmax of the model"] = (rank + 1, softmax)
    return lines(curves, "rank of the item by score", "probability of a draw", log="xy")


def mean_share(size: int, logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mean probability of each item over pools of uniform draws, [N]."""
    item = rng.integers(0, ITEMS, (POOLS, size))
    log_q = jnp.full(item.shape, -np.log(ITEMS))
    weight = jnp.asarray(logits[item]) - log_q
    law = resampled_log_prob(jnp.asarray(item), weight, log_q, alone=False)
    # An item has its probability at each of its places.
    share = np.zeros((POOLS, ITEMS))
    np.put_along_axis(share, item, np.exp(np.asarray(law)), axis=1)
    return share.mean(axis=0)
