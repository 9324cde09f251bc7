"""Configurations as dictionaries."""

from typing import Any

from twotower_jax.config import Config, to_dict


def with_value(key: str, value: Any) -> dict[str, Any]:
    """Return the defaults as dictionaries, with one value changed."""
    values = to_dict(Config())
    place = values
    *sections, last = key.split(".")
    for section in sections:
        place = place[section]
    assert last in place
    place[last] = value
    return values
