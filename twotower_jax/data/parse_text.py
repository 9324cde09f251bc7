"""JSON and YAML from files that anybody may have written: ValueError, or a value."""

import json
from typing import Any

import yaml
from yaml.composer import Composer

LONGEST_YAML = 100_000  # characters; a config.yaml has about 10,000
# The scanner of libyaml takes a fifth of the time. Values are composed in Python, where
# those that are nested too deep raise RecursionError.
_Loader: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class _PlainLoader(Composer, _Loader):
    """Reads YAML, and refuses aliases, by which a short text has a huge value."""

    def __init__(self, text: str):
        _Loader.__init__(self, text)
        Composer.__init__(self)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # type: ignore[attr-defined]
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Examples:
      >>> parse_json("[" * 100_000)
      Traceback (most recent call last):
        ...
      ValueError: nested too deep
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Examples:
      >>> parse_yaml("a: &b [x]\\nc: [*b, *b]")
      Traceback (most recent call last):
        ...
      ValueError: an alias
    """
    if len(text) > LONGEST_YAML:
        raise ValueError(f"longer than {LONGEST_YAML:,} characters")
    try:
        return _PlainLoader(text).get_single_data()
    except RecursionError:
        raise ValueError("nested too deep") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
