"""Text and JSON files that are written whole, and read while others replace them."""

import errno
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from twotower_jax.data.drafts import draft_of

STALE, SECONDS = 20, 0.05  # tries to read a file that is replaced, and between them


def write_text(path: Path, text: str) -> Path:
    """Write a text file: readers see the old text or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_of(path) as draft:
        draft.write_bytes(text.encode("utf-8", "replace"))
    return path


def read_text(path: Path) -> str:
    """Text of a file that another command may replace meanwhile.

    On a shared file system, a file that another host replaces while it is opened or
    read is stale; the new one is read then.
    """
    for _ in range(STALE):
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            gone = error.errno == errno.ENOENT and error.filename is None
            if error.errno != errno.ESTALE and not gone:
                raise
            time.sleep(SECONDS)
    return path.read_text(encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Write indented JSON; NaN becomes null, for JSON does not have NaN."""
    text = json.dumps(plain(values), indent=2, allow_nan=False)
    write_text(path, text + "\n")


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    """Values of a JSON file with their checksum, which `unsealed` compares.

    Examples:
      >>> unsealed(sealed({"a": 1.5}))
      {'a': 1.5}
      >>> unsealed(sealed({"a": 1.5}) | {"a": 2.5})
      Traceback (most recent call last):
        ...
      ValueError: another checksum
    """
    return values | {"sha256": _digest(values)}


def unsealed(values: dict[str, Any]) -> dict[str, Any]:
    """Values without their checksum, which files of earlier versions lack."""
    content = {key: value for key, value in values.items() if key != "sha256"}
    if values.get("sha256", _digest(content)) != _digest(content):
        raise ValueError("another checksum")
    return content


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(plain(values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def plain(values: Any) -> Any:
    """Return values with tuples as lists and NaN as None.

    Examples:
      >>> plain({"a": (1.0, float("nan"))})
      {'a': [1.0, None]}
    """
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain(value) for value in values]
    if isinstance(values, float) and values != values:
        return None
    return values
