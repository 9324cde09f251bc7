"""The commit of the working directory, read from the files of its repository.

The program git is not run: in a folder of others, its configuration names programs that
it would start.
"""

import re
from pathlib import Path

HEX = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
LARGEST = 2**24  # bytes of a file of references that is read


def commit_of(folder: Path) -> str | None:
    """Return the commit that is checked out around a folder, None outside of one.

    Args:
      folder: such as the working directory.

    Returns:
      Hexadecimal digits; None without a commit, or where the files cannot be read.
    """
    try:
        for place in (folder, *folder.parents):
            if (place / ".git").exists():
                return _head(_repository(place / ".git"))
    except (OSError, ValueError):
        pass
    return None


def _repository(path: Path) -> Path:
    """Return the folder of a repository; a worktree has a file that names it."""
    if path.is_dir():
        return path
    _, _, named = _read(path).partition("gitdir:")
    return path.parent / named.strip()


def _head(folder: Path) -> str | None:
    """Return the commit of HEAD, which is digits or the name of a branch."""
    head = _read(folder / "HEAD").strip()
    if not head.startswith("ref:"):
        return _digits(head)
    name = head.removeprefix("ref:").strip()
    if ".." in name.split("/"):
        return None
    shared = folder / "commondir"
    places = [folder]
    if shared.is_file():
        places.append(folder / _read(shared).strip())
    for place in places:
        if (place / name).is_file():
            return _digits(_read(place / name).strip())
    for place in places:
        if (place / "packed-refs").is_file():
            for line in _read(place / "packed-refs").splitlines():
                digits, _, packed = line.partition(" ")
                if packed == name:
                    return _digits(digits)
    return None


def _read(path: Path) -> str:
    """Return a regular file of at most LARGEST bytes; ValueError for another one."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise ValueError(path)
    return path.read_text(encoding="utf-8")


def _digits(text: str) -> str | None:
    return text if HEX.fullmatch(text) else None
