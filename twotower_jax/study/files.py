"""Files of a study, written whole."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """Write a text file atomically: readers see the old text or the whole new one.

    Args:
      path: the file; its folder exists.
      text: written as UTF-8; characters that UTF-8 cannot encode become "?".

    Returns:
      The path.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(text.encode("utf-8", "replace"))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path
