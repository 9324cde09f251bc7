"""The one shape of a registry: named choices of one key of the configuration."""

from typing import TypeVar

from twotower_jax.errors import unknown

Choice = TypeVar("Choice")


class Registry(dict[str, Choice]):
    """A dictionary {name: choice} that knows the key which selects from it.

    Every choice of a registry has the same type: a function of one signature, or a
    named tuple of functions. Adding a choice is one entry.

    Args:
      key: the key of the configuration, such as ``loss.name``.
      choices: the entries.

    Examples:
      >>> LOSSES = Registry("loss.name", {"bce": abs, "hinge": abs})
      >>> LOSSES["bce"](-1)
      1
      >>> LOSSES["bcee"]
      Traceback (most recent call last):
        ...
      InputError: ...one of: bce, hinge
    """

    def __init__(self, key: str, choices: dict[str, Choice]):
        super().__init__(choices)
        self.key = key

    def __missing__(self, name: str) -> Choice:
        raise unknown(self.key, name, self)
