"""The keys that declare when they decide a number of a run."""

from twotower_jax.config.convert import walk
from twotower_jax.registry import rule_of, sections


def declared_effects():
    """Return {key: its ``decides``, or that of its section} of those with a rule."""
    rules, leaves = {"": True}, set()
    for key, item, owner, _ in walk():
        own = rule_of(item, owner)
        rules[key] = rules[key.rpartition(".")[0]] if own is True else own
        if item.name not in sections(owner):
            leaves.add(key)
    return {
        key: rule for key, rule in rules.items() if key in leaves and rule is not True
    }
