"""Files of a study, written whole."""

from pathlib import Path

from twotower_jax.data.drafts import draft_of


def write_whole(path: Path, text: str) -> Path:
    """Write a text file atomically: readers see the old text or the whole new one.

    Args:
      path: the file; its folder exists.
      text: written as UTF-8; characters that UTF-8 cannot encode become "?".

    Returns:
      The path.
    """
    with draft_of(path) as draft:
        draft.write_bytes(text.encode("utf-8", "replace"))
    return path
