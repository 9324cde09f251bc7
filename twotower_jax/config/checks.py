"""Checks of single values; a message names the key, the value and the remedy."""

import re

from twotower_jax.errors import InputError, unknown

LONGEST = 200  # characters of a name
HIGHEST = 1e30  # a float32 holds it, and a multiple of it


def in_range(key: str, value: float, low: float, high: float | None = None) -> None:
    """Check that a number is below 1e30 and between two bounds, both included.

    Args:
      key: dotted key of the configuration, such as ``training.epochs``.
      value: the number.
      low: the lowest value allowed.
      high: the highest value allowed; None for any number below 1e30.

    Raises:
      InputError: the value is out of range, infinite or NaN.

    Examples:
      >>> in_range("data.test_share", 0.1, 0, 0.9)
      >>> in_range("data.test_share", 0.95, 0, 0.9)
      Traceback (most recent call last):
        ...
      InputError: data.test_share=0.95 is out of range; give a value between 0 and 0.9
    """
    if not (low <= value < HIGHEST and (high is None or value <= high)):
        span = f"at least {low}" if high is None else f"between {low} and {high}"
        span += " and below 1e30" if high is None and value >= HIGHEST else ""
        raise InputError(f"{key}={value} is out of range; give a value {span}")


def above(key: str, value: float, low: float) -> None:
    """Check that a number is below 1e30 and greater than a bound.

    Args:
      key: dotted key of the configuration.
      value: the number.
      low: the bound, itself not allowed.

    Raises:
      InputError: the value is the bound or less, infinite or NaN.
    """
    if not low < value < HIGHEST:
        span = f"above {low}" + (" and below 1e30" if value >= HIGHEST else "")
        raise InputError(f"{key}={value} is out of range; give a value {span}")


def share(key: str, value: float) -> None:
    """Check that a share of the training is below 1, and not a number of steps.

    Args:
      key: dotted key of the configuration.
      value: the share.

    Raises:
      InputError: the value is 1 or more.

    Examples:
      >>> share("negatives.bank.warmup", 0.1)
      >>> share("negatives.bank.warmup", 1000)
      Traceback (most recent call last):
        ...
      InputError: negatives.bank.warmup=1000 is now a share of the training; ...
    """
    if value >= 1:
        raise InputError(
            f"{key}={value} is now a share of the training; give a value below 1, such "
            "as 0.1 for a tenth of its steps"
        )


def whole_number(key: str, value: object, low: int) -> None:
    """Check a value that no schema has typed: a whole number from a bound on.

    Args:
      key: dotted key of the configuration.
      value: the value, of any type; a bool is not a whole number.
      low: the lowest value allowed.

    Raises:
      InputError: the value is not an int, or below the bound.

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
    in_range(key, value, low)


def true_or_false(key: str, value: object) -> None:
    """Check a value that no schema has typed: true or false.

    Args:
      key: dotted key of the configuration.
      value: the value, of any type.

    Raises:
      InputError: the value is not a bool.

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

    Args:
      key: dotted key of the configuration.
      path: the name; parts are separated by "/".

    Raises:
      InputError: it is empty, absolute or too long, or has a part "." or "..", a
        backslash or a character that cannot be printed.

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


def choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Check that a name is one of the choices of its key.

    Args:
      key: dotted key of the configuration.
      value: the name.
      choices: the names allowed.

    Raises:
      InputError: the name is another one; the message lists the choices.

    Examples:
      >>> choice("data.split", "ratio", ("temporal", "ratio"))
      >>> choice("data.split", "random", ("temporal", "ratio"))
      Traceback (most recent call last):
        ...
      InputError: data.split='random' is unknown; choose one of: ratio, temporal
    """
    if value not in choices:
        raise unknown(key, value, choices)


def local_path(key: str, path: str) -> None:
    """Check that a path is one of this machine, and not the address of a server.

    Args:
      key: dotted key of the configuration, or an option.
      path: of a file or folder.

    Raises:
      InputError: an address, such as https://..., s3://... or gs://...

    Examples:
      >>> local_path("data.path", "clicks.csv")
      >>> local_path("data.path", "s3://shop/clicks.csv")
      Traceback (most recent call last):
        ...
      InputError: data.path=s3://shop/clicks.csv is an address, and files are read ...
    """
    if re.match(r"[A-Za-z][\w+.-]+://", path):
        raise InputError(
            f"{key}={path} is an address, and files are read from a disk; download it, "
            "and give the path of the file"
        )
