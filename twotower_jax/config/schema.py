"""Declaration of one key of the configuration: default, allowed values, one line.

A key is declared once, in its section::

    users: int = key(5_000, low=2, high=10**8, doc="number of users")

Its check (``check_keys``) and its row in the tables of keys (``describe.py``) are made
from this declaration. The sections stay plain dataclasses.
"""

import dataclasses
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

from twotower_jax.config.checks import above, choice, in_range, share

T = TypeVar("T")
_KEY = "key"


class Key(NamedTuple):
    """Allowed values and meaning of one key.

    The allowed values of a list or a dictionary are those of each of its parts.

    Attributes:
      doc: the meaning in one line.
      low: the lowest value allowed, or None.
      high: the highest value allowed, or None.
      above: a lower bound that is not itself allowed, or None.
      choices: the names allowed; () for any.
      training: whether the value is a share of the training, below 1.
    """

    doc: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    training: bool = False

    def allowed(self) -> str:
        """Return the allowed values in words, "" where any value of the type is.

        Examples:
          >>> Key("a share", low=0, high=0.9).allowed()
          '0 to 0.9'
          >>> Key("a temperature", above=0).allowed()
          'above 0'
          >>> Key("a split", choices=("temporal", "ratio")).allowed()
          'temporal, ratio'
          >>> Key("a warm-up", low=0, training=True).allowed()
          'at least 0, below 1'
        """
        if self.choices:
            return ", ".join(self.choices)
        if self.training:
            return f"{self._replace(training=False).allowed()}, below 1"
        if self.above is not None:
            return f"above {_short(self.above)}"
        if self.low is None:
            return ""
        if self.high is None:
            return f"at least {_short(self.low)}"
        return f"{_short(self.low)} to {_short(self.high)}"

    def check(self, name: str, value: Any) -> None:
        """Check one value.

        Args:
          name: dotted key, for the message.
          value: a number or a name.

        Raises:
          InputError: the value is not allowed.
        """
        if self.choices:
            choice(name, value, self.choices)
        if self.training:
            share(name, value)
        if self.above is not None:
            above(name, value, self.above)
        if self.low is not None:
            in_range(name, value, self.low, self.high)


def _short(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def key(
    default: T,
    *,
    doc: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    training: bool = False,
) -> T:
    """Return the dataclass field that declares a key.

    Args:
      default: its default; a dictionary is copied for each configuration.
      doc: its meaning in one line.
      low: the lowest value allowed; None for any.
      high: the highest value allowed, beside ``low``.
      above: a lower bound that is not itself allowed, instead of ``low``.
      choices: the names allowed; () for any.
      training: whether the value is a share of the training, below 1; beside ``low``
        or ``above``.

    Returns:
      A ``dataclasses.field``, typed as its default so that
      ``users: int = key(5_000, ...)`` passes a type checker.

    Examples:
      >>> @dataclasses.dataclass
      ... class World:
      ...     users: int = key(5_000, low=2, doc="number of users")
      ...
      ...     def __post_init__(self):
      ...         check_keys(self, "world")
      >>> World().users
      5000
      >>> World(users=1)
      Traceback (most recent call last):
        ...
      InputError: world.users=1 is out of range; give a value at least 2
    """
    metadata = {_KEY: Key(doc, low, high, above, choices, training)}
    if isinstance(default, dict):
        made = dataclasses.field(default_factory=default.copy, metadata=metadata)
    else:
        made = dataclasses.field(default=default, metadata=metadata)
    return cast(T, made)


def declared(item: dataclasses.Field[Any]) -> Key | None:
    """Return the declaration of a field; None for a section."""
    return item.metadata.get(_KEY)


def check_keys(section: Any, name: str) -> None:
    """Check every value that a section declares; its lists become tuples.

    A null value passes: whether null is allowed is a matter of the type.

    Args:
      section: a dataclass of the configuration, just made.
      name: its dotted name, such as ``data.simulator``; "" for the root.

    Raises:
      InputError: a value is out of range, or not one of its choices.
    """
    prefix = f"{name}." if name else ""
    for item in dataclasses.fields(section):
        made, value = declared(item), getattr(section, item.name)
        if isinstance(item.default, tuple):
            value = tuple(value)
            setattr(section, item.name, value)
        if made is None or value is None:
            continue
        for place, part in _parts(f"{prefix}{item.name}", value):
            made.check(place, part)


def _parts(name: str, value: Any) -> list[tuple[str, Any]]:
    """Return (dotted key, value) of a value, or of each part of a list or dictionary.

    A part of a list is named as the list, a part of a dictionary by its own key.
    """
    if isinstance(value, dict):
        return [(f"{name}.{part}", kind) for part, kind in value.items()]
    if isinstance(value, tuple):
        return [(name, part) for part in value]
    return [(name, value)]


def sections(kind: type) -> dict[str, type]:
    """Return the dataclasses of the sections of a dataclass, by field.

    Args:
      kind: a dataclass of the configuration.

    Returns:
      {name of the field: its dataclass}.
    """
    return {
        name: hint
        for name, hint in get_type_hints(kind).items()
        if isinstance(hint, type) and dataclasses.is_dataclass(hint)
    }
