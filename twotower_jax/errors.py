"""The one exception for wrong input; the command line turns it into exit status 2."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Wrong input from the user: names the key or file, the value and the remedy.

    Raised before any training. ``twotower`` prints it as one message and exits
    with status 2; in Python it is an ordinary ``ValueError``.
    """


def unknown(key: str, value: object, known: Iterable[str]) -> InputError:
    """Return the error for a name that no registry knows, listing those it does."""
    names = ", ".join(sorted(known))
    return InputError(f"{key}={value!r} is unknown; choose one of: {names}")


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return "did you mean X?" for the known word nearest to a misspelt one."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else None
