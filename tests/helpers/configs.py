"""Configurations as dictionaries."""

from typing import Any

from twotower_jax.config import Config, to_dict
from twotower_jax.config.convert import choices_with
from twotower_jax.config.root import FAMILIES


def with_choice(values: dict[str, Any], key: str, value: Any = None) -> dict[str, Any]:
    """Make the choice that has a key, or that the key with its value names.

    A section whose choice has the key keeps its values.
    """
    section = key.partition(".")[0]
    family = FAMILIES.get(section)
    if family is None:
        return values
    now = values[section][family.tag]
    if key == family.key:
        now = value
    elif (having := choices_with(key)) and now not in having:
        now = having[0]
    if now in family and values[section][family.tag] != now:
        values[section] = to_dict(family[now]())
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
