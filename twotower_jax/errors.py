"""The exceptions whose message is all that the command line prints."""

import difflib
import re
from collections.abc import Iterable


class InputError(ValueError):
    """Wrong input from the user: names the key or file, the value and the remedy.

    Raised before any training. ``twotower`` prints it as one message and exits
    with status 2; in Python it is an ordinary ``ValueError``.
    """


class DataError(InputError):
    """The log cannot be read or split as configured, so that no run on it can work."""


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; ``twotower`` exits with status 1."""


class SharedError(InputError):
    """Wrong input of one of several processes, which all of them report and leave."""


class LostProcessError(RuntimeError):
    """One of several processes has ended; ``twotower`` exits with status 1."""


class BusyError(RuntimeError):
    """Another process works on the folder of a run; ``twotower`` exits with 3."""


class SharedBusyError(BusyError):
    """Another command works on the folder of a run of several processes."""


class FileError(RuntimeError):
    """A file of a run cannot be read or written; ``twotower`` exits with status 1."""


def file_error(error: OSError) -> FileError:
    """Return the error for a file that cannot be read or written.

    Examples:
      >>> error = OSError(28, "No space left on device", "outputs/a")
      >>> str(file_error(error)).partition(";")[0]
      'outputs/a: No space left on device'
    """
    place = f"{error.filename}: " if error.filename else ""
    return FileError(
        f"{place}{error.strerror or error}; make sure that files can be read and "
        "written, or give another place (data.path=, output=, --out)"
    )


def shown(error: Exception) -> str:
    """Return the message of an error, its long words cut.

    Examples:
      >>> shown(ValueError(f"name={'x' * 5000} is too long; give a shorter one"))
      'name=xxxxx... is too long; give a shorter one'
    """
    text = str(error) or type(error).__name__
    return re.sub(r"(\S{10})\S{300,}", r"\1...", text)


def unknown(key: str, value: object, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not among the choices of a key.

    Examples:
      >>> str(unknown("loss.name", "bcee", ["hinge", "bce"]))
      "loss.name='bcee' is unknown; choose one of: bce, hinge"
    """
    names = ", ".join(sorted(known))
    return InputError(f"{key}={value!r} is unknown; choose one of: {names}")


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return "did you mean X?" for the known word nearest to a misspelt one.

    Examples:
      >>> closest("optimzer", ["optimizer", "loss"])
      'did you mean optimizer?'
      >>> closest("xyz", ["optimizer", "loss"])
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else None
