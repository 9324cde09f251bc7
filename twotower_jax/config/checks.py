"""Checks of single values; a message names the key, the value and the remedy."""

from twotower_jax.errors import InputError
from twotower_jax.registry import check_range

LONGEST = 200  # characters of a name


def whole_number(key: str, value: object, low: int) -> None:
    """Check a value that no schema has typed: a whole number from a bound on.

    Examples:
      >>> whole_number("hydra.launcher.workers", 2, low=1)
      >>> whole_number("hydra.launcher.workers", 2.5, low=1)
      Traceback (most recent call last):
        ...
      InputError: hydra.launcher.workers=2.5 is not a whole number; ...
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(
            f"{key}={value} is not a whole number; give one, at least {low}"
        )
    check_range(key, value, low)


def true_or_false(key: str, value: object) -> None:
    """Check a value that no schema has typed: true or false.

    Examples:
      >>> true_or_false("hydra.launcher.processes", True)
      >>> true_or_false("hydra.launcher.processes", "maybe")
      Traceback (most recent call last):
        ...
      InputError: hydra.launcher.processes=maybe has to be true or false
    """
    if not isinstance(value, bool):
        raise InputError(f"{key}={value} has to be true or false")


def inside(key: str, path: str) -> None:
    """Check that a name is a path below a folder, and does not lead out of it.

    Examples:
      >>> inside("name", "defaults/toys")
      >>> inside("name", "../toys")
      Traceback (most recent call last):
        ...
      InputError: name='../toys' leads out of its folder or cannot be one; ...
    """
    parts = path.split("/")
    plain = path.isprintable() and "\\" not in path and len(path) <= LONGEST
    if not plain or any(part in ("", ".", "..") for part in parts):
        shown = path if len(path) <= 60 else f"{path[:60]}..."
        raise InputError(
            f"{key}={shown!r} leads out of its folder or cannot be one; give one such "
            f"as first or study/first, of at most {LONGEST} characters"
        )
