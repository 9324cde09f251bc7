"""Checks of single values, with the key in the message."""

import math

from twotower_jax.errors import InputError, unknown


def in_range(key: str, value: float, low: float, high: float | None = None) -> None:
    """Raise InputError unless low <= value (<= high)."""
    if not (low <= value < math.inf and (high is None or value <= high)):
        span = f"at least {low}" if high is None else f"between {low} and {high}"
        raise InputError(f"{key}={value} is out of range; give a value {span}")


def whole_number(key: str, value: object, low: int) -> None:
    """Raise InputError unless a value of no schema is an int, and low or more."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{key}={value} is no whole number; give one, at least {low}")
    in_range(key, value, low)


def positive(key: str, value: float) -> None:
    """Raise InputError unless value > 0."""
    if not 0 < value < math.inf:
        raise InputError(f"{key}={value} is out of range; give a value above 0")


def choice(key: str, value: str, known: tuple[str, ...]) -> None:
    """Raise InputError unless the value is one of the known names."""
    if value not in known:
        raise unknown(key, value, known)
