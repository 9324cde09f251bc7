"""Share of the negatives' gradient that the k best columns hold."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.losses.logits import keep_top_k

COLUMNS, ROWS = 1023, 64
KEPT = (1, 10, 30, 100, 300, COLUMNS)


def draw() -> Figure:
    """Return one line per temperature, for random unit vectors of dimension 16."""
    vectors = jax.random.normal(jax.random.key(0), (ROWS + COLUMNS, 16))
    vectors /= jnp.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors[:ROWS] @ vectors[ROWS:].T
    kept = {k: np.asarray(keep_top_k(cosine, k)) for k in KEPT}
    series = {}
    for temperature in (0.05, 0.1, 0.2):
        mass = np.asarray(jax.nn.softmax(cosine / temperature, axis=1))
        share = [(mass * kept[k]).sum(axis=1).mean() for k in KEPT]
        series[f"temperature {temperature}"] = np.array(KEPT), np.array(share)
    return lines(
        series, "columns kept, k", "share of the gradient", log="x", marker="o"
    )
