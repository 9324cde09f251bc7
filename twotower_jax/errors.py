"""The one exception for wrong input; the command line turns it into exit status 2."""


class InputError(ValueError):
    """Wrong input from the user: names the key or file, the value and the remedy.

    Raised before any training. ``twotower`` prints it as one message and exits
    with status 2; in Python it is an ordinary ``ValueError``.
    """


def unknown(key: str, value: object, known: object) -> InputError:
    """Return the error for a name that no registry knows, listing those it does."""
    names = ", ".join(sorted(str(name) for name in known))  # type: ignore[attr-defined]
    return InputError(f"{key}={value!r} is unknown; choose one of: {names}")
