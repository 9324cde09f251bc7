"""Weights of positives by the name of a strategy."""

from dataclasses import fields

from twotower_jax import positives


def strategy_of(name, **settings):
    """Return a strategy, which takes those of the settings that it has."""
    kind = positives.POSITIVES[name]
    known = {item.name for item in fields(kind)}
    return kind(**{key: value for key, value in settings.items() if key in known})


def item_weights(name, counts, **settings):
    """Return the weights of items under a strategy."""
    return positives.item_weights(strategy_of(name, **settings), counts)
