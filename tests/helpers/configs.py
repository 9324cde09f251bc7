"""Configurations as dictionaries."""

from typing import Any

from twotower_jax.config import Config, to_dict
from twotower_jax.config.convert import choices_with, family_of


def with_choice(values: dict[str, Any], key: str, value: Any = None) -> dict[str, Any]:
    """Make the choice that has a key, or that the key with its value names.

    A section whose choice has the key keeps its values.
    """
    family = family_of(key)
    if family is None:
        return values
    part = values
    for section in family.section.split("."):
        part = part[section]
    now = part[family.tag]
    if key == family.key:
        now = value
    elif (having := choices_with(key)) and now not in having:
        now = having[0]
    if now in family and part[family.tag] != now:
        before, new = to_dict(family[part[family.tag]]()), to_dict(family[now]())
        new |= {k: v for k, v in part.items() if k in new and v != before[k]}
        part.clear()
        part.update(new)
    return values


def with_value(key: str, value: Any) -> dict[str, Any]:
    """Return the defaults as dictionaries, with one value changed."""
    values = with_choice(to_dict(Config()), key, value)
    place = values
    *sections, last = key.split(".")
    for section in sections:
        place = place[section]
    assert last in place
    place[last] = value
    return values
