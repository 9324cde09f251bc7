"""Draws of a row that count, by the moment of its positive, in a growing catalogue."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from figures.style import ITEMS, lines, zipf_counts
from twotower_jax.data.known_items import known_items
from twotower_jax.negatives.easy import host_mass_tree, log_known_mass, make_proposal

DRAWS, OLD = 1_024, 250


def draw() -> Figure:
    """Return one line per layout and proposal; three of four items appear later."""
    rng = np.random.default_rng(0)
    first = np.where(rng.permutation(ITEMS) < OLD, 0, rng.random(ITEMS))
    moments = np.linspace(0, 1, 101)
    known = known_items(first, moments)
    series = {"per row": (moments, np.full(len(moments), DRAWS))}
    for name in ("uniform", "popularity"):
        proposal = make_proposal(name, zipf_counts())
        tree = jax.tree.map(jnp.asarray, host_mass_tree(proposal, known.place))
        mass = np.exp(log_known_mass(tree, jnp.asarray(known.number)))
        series[f"shared, {name}"] = moments, DRAWS * mass
    return lines(series, "moment of the positive, in lengths of the log", "draws")
