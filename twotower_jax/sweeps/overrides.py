"""Words of a command line: overrides as Hydra reads them and a shell passes them."""

import re
import shlex
from collections.abc import Iterable
from typing import Any

PLAIN = re.compile(r"[\w./@+-]+", re.ASCII)
# Plain words that Hydra reads as something else than text.
OTHER = re.compile(r"(?i)null|true|false|[-+]?(nan|inf(inity)?|[\d_.]+(e[-+]?\d+)?)")
WIDTH = 78  # with the backslash, 80


def override(key: str, value: Any) -> str:
    """Override that gives a key a value.

    Examples:
      >>> override("data.columns.user", "User ID")
      "data.columns.user='User ID'"
      >>> override("data.clicked_values", ["click", "1"])
      "data.clicked_values=[click,'1']"
      >>> override("data.header", False)
      'data.header=false'
    """
    return f"{key}={_value(value)}"


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_value(v)}' for name, v in value.items())}}}"
    if not isinstance(value, str) or (
        PLAIN.fullmatch(value) and not OTHER.fullmatch(value)
    ):
        return str(value)
    # A name in a file, such as ${oc.env:SECRET}, refers to nothing.
    escaped = value.replace("'", r"\'").replace("${", r"\${")
    return f"'{escaped}'"


def command_text(words: Iterable[str]) -> str:
    """Command line to paste into a shell, broken into lines by backslashes.

    Examples:
      >>> command_text(["twotower", "train", "data.columns.user='User ID'"])
      'twotower train "data.columns.user=\\'User ID\\'"'
    """
    lines, line = [], ""
    for word in map(_quoted, words):
        if line and len(line) + len(word) + 1 > WIDTH:
            lines.append(line)
            line = f"    {word}"
        else:
            line = f"{line} {word}" if line else word
    return " \\\n".join([*lines, line])


def _quoted(word: str) -> str:
    """Return a word as a shell reads it; double quotes are easier to read."""
    if "'" in word and not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return shlex.quote(word)
