"""A window of a model's exact ranking."""

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, STYLE, axes
from twotower_jax.negatives.mined import window

FIRST, END, ITEMS = 100, 500, 2000


def draw() -> Figure:
    """Return the cosines of a random model by rank, with ranks 100 to 499 marked."""
    query_key, item_key = jax.random.split(jax.random.key(0))
    query = jax.random.normal(query_key, (16,))
    items = jax.random.normal(item_key, (ITEMS, 16))
    cosine = items @ query
    cosine /= jnp.linalg.norm(items, axis=1) * jnp.linalg.norm(query)
    _, ranked = jax.lax.top_k(cosine, ITEMS)
    pool = np.asarray(window(ranked[None, :], FIRST, END, ITEMS)[0])
    one = axes("rank by the model's score", "cosine")
    with mpl.rc_context(STYLE):
        one.plot(np.asarray(cosine[ranked]), color=COLOURS[0], label="all items")
        at = np.arange(FIRST, END)
        one.plot(at, np.asarray(cosine)[pool], color=COLOURS[1], lw=5, label="pool")
        one.legend()
    return one.figure
