"""Losses with the numbers of a test, each of which takes those that it has."""

from dataclasses import fields

from twotower_jax.losses import LOSSES
from twotower_jax.registry import join

NUMBERS = {"ratio": 3.0, "margin": 0.2, "calibration": 0.75, "num_items": 50.0}


def loss_of(name, temperature=0.5, **numbers):
    """Return the loss of a name; of ``numbers`` and NUMBERS it takes what it has."""
    known = {item.name for item in fields(LOSSES[name])} | {"num_items"}
    given = NUMBERS | numbers
    own = {key: value for key, value in given.items() if key in known}
    return join(LOSSES[name](), own | {"temperature": temperature})
