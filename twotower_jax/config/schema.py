"""Declaration of one key: default, allowed values, meaning in one line, example.

A key is declared once, in its section::

    users: int = key(5_000, low=2, high=10**8, doc="number of users", example="20000")

Its check (``check_keys``), its row in the tables of keys and its explanation by
``twotower train --help KEY`` (``describe.py``) are made from this declaration. The
sections stay plain dataclasses.
"""

import dataclasses
import shlex
from numbers import Real
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

from twotower_jax.config.checks import above, choice, in_range, share
from twotower_jax.errors import InputError

T = TypeVar("T")
_KEY = "key"


class Key(NamedTuple):
    """Allowed values, meaning and example of one key.

    The allowed values of a list or a dictionary are those of each of its parts.

    Attributes:
      doc: the meaning in one line, with the unit and the meaning of null.
      example: another value than the default as the command line writes it, or all
        words of a command where it needs others; "": another choice.
      low: the lowest value allowed, or None.
      high: the highest value allowed, or None.
      above: a lower bound that is not itself allowed, or None.
      choices: the names allowed; () for any.
      training: whether the value is a share of the training, below 1.
    """

    doc: str
    example: str = ""
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

    def words(self, name: str, default: Any) -> list[str]:
        """Return the words of a command that sets the key to another value.

        Args:
          name: dotted key.
          default: its default.

        Examples:
          >>> Key("a temperature", example="0.07").words("loss.temperature", 0.14)
          ['loss.temperature=0.07']
          >>> Key("a margin", example="loss=hinge loss.margin=0.5").words("", 0.2)
          ['loss=hinge', 'loss.margin=0.5']
          >>> Key("the order", choices=("shuffled", "time")).words("order", "shuffled")
          ['order=time']
          >>> Key("a switch").words("training.merge_columns", True)
          ['training.merge_columns=false']
        """
        if "=" in self.example:
            return shlex.split(self.example)
        value = self.example
        if not value and isinstance(default, bool):
            value = str(not default).lower()
        if not value:
            value = next((choice for choice in self.choices if choice != default), "")
        return [f"{name}={value}"] if value else []

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
        bounded = self.low is not None or self.above is not None
        if bounded and not issubclass(type(value), Real):
            raise InputError(f"{name}: {value!r} is not a number; give numbers")
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
    example: str = "",
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    training: bool = False,
) -> T:
    """Return the dataclass field that declares a key.

    Args:
      default: its default; a dictionary is copied for each configuration.
      doc: its meaning in one line, with the unit and the meaning of null.
      example: another value than the default as the command line writes it, or all
        words of a command where it needs others; "": another choice.
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
    metadata = {_KEY: Key(doc, example, low, high, above, choices, training)}
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
