"""The keys that declare when they decide a number of a run."""

import dataclasses

from twotower_jax.config import Config
from twotower_jax.config.convert import kinds
from twotower_jax.registry import sections


def declared_effects(kind=Config, prefix="", outer=True):
    """Return {key: its ``decides``, or that of its section} of those with a rule."""
    found, inner = {}, sections(kind)
    for item in dataclasses.fields(kind):
        own = item.metadata.get("decides", True)
        rule, key = outer if own is True else own, f"{prefix}{item.name}"
        parts = kinds(inner.get(item.name))
        for part in parts:
            found |= declared_effects(part, f"{key}.", rule)
        if rule is not True and not parts:
            found[key] = rule
    return found
