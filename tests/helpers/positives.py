"""Weights of positives from settings that are given by keywords."""

from twotower_jax.sampling import positives
from twotower_jax.sampling.positive_weights import Settings


def item_weights(name, counts, **settings):
    """Return the weights of a strategy; a setting that is left out is the default."""
    return positives.item_weights(name, counts, Settings(**settings))
