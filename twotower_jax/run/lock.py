"""One process at a time works on the folder of a run.

The lock is one of the operating system on a file beside the folder: it ends with the
process that holds it, however that ends, and reaches other hosts of a shared file
system that has such locks. The file names its holder.
"""

import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from twotower_jax.config.parse_text import parse_json
from twotower_jax.data.text_files import read_text
from twotower_jax.errors import BusyError

SECONDS = 1.0  # between two looks at a lock of another process
# Errors of a file that another host of a shared file system has removed.
GONE = (errno.ENOENT, errno.ESTALE)
TRIES, PAUSE = 100, 0.02  # to take a lock that is removed; seconds between them
# Errors of a file system without locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


@contextmanager
def held(
    folder: Path,
    wait: bool,
    say: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Context in which no other process works on a folder.

    Args:
      folder: of a run; it need not be there.
      wait: whether to wait until it is free.
      say: prints a line, once, where it waits, or where there are no such locks.
      stopped: whether to end the waiting.

    Raises:
      BusyError: another process holds it; the message names host, process and moment.
    """
    made = _make(folder.parent)
    path, said = folder.with_name(f".{folder.name}.lock"), False
    while (file := _taken(path, say)) is None:
        text = f"{folder} is in use by {_holder(path)}"
        if not wait or stopped():
            raise BusyError(f"{text}; wait for its end, or choose another name=")
        if not said:
            say(f"{text}; waiting for its end")
            said = True
        time.sleep(SECONDS)
    try:
        _remove_remains(folder)
        yield
    finally:
        # Removed while it is held: a process that opened it before looks again.
        try:
            path.unlink(missing_ok=True)
        finally:
            file.close()
        with suppress(OSError):  # one of them holds files
            for one in made:
                one.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder; return those that were not there, the deepest first."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return made


def _taken(path: Path, say: Callable[[str], None]) -> IO[str] | None:
    """Return the locked file, or None where another process holds it."""
    for tries_left in reversed(range(TRIES)):
        file = None
        try:
            file = path.open("a+", encoding="utf-8")
            if not _is_locked(file, path.parent, say):
                file.close()
                return None
            if _is_there(path, file):
                _name_holder(file)
                return file
            file.close()  # its holder has removed it
        except OSError as error:
            if file is not None:
                with suppress(OSError):  # close() writes the buffer once more
                    file.close()
            if error.errno not in GONE or not tries_left:
                error.filename = error.filename or str(path)
                raise
        time.sleep(PAUSE)
    raise BusyError(f"{path} is taken and removed by others; start the command again")


def _is_locked(file: IO[str], folder: Path, say: Callable[[str], None]) -> bool:
    """Lock a file, where there are locks; return whether no other process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        say(f"{folder} has no locks ({error.strerror}): start one process")
    return True


def _name_holder(file: IO[str]) -> None:
    """Write this process into the file of a lock."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"host": platform.node(), "process": os.getpid(), "since": now}
    file.truncate(0)
    json.dump(holder, file)
    file.flush()


def _is_there(path: Path, file: IO[str]) -> bool:
    """Return whether a path is still that of an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    """Return the holder that the file of a lock names."""
    try:
        found = parse_json(read_text(path))
        return f"process {found['process']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _remove_remains(folder: Path) -> None:
    """Remove the temporary files of processes that ended while they wrote."""
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)
