"""Files and folders that are written whole, and the remains of killed processes.

A draft beside a file takes its place at the end, when its content is on the disk. Its
name holds the host and the process that writes it, so that a later command removes
those of processes that ended.
"""

import errno
import functools
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SECONDS = 7 * 24 * 3600  # for which a draft of another host may be written
# How polars and TensorStore write the number of an error of the operating system;
# without a number where polars writes the frame of a parquet file.
OS_ERROR = re.compile(r"\(os error (\d+)\)|os_error_code='(\d+)'|transport error")
# Errors of fsync on a folder where the file system or its permissions do not allow it.
NO_WAIT = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
FULL = 2**20  # bytes free, below which a failed write without a number is ENOSPC
THREADS = 8  # that wait for the files of a folder
OWNER = re.compile(r"([0-9a-f]{8})-(\d+)(?:-|\.tmp$)")


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Context of a draft of a file or a folder, whose place it takes at the end."""
    draft = new_draft(path)
    try:
        with removed(draft), writing(path):
            yield draft
            put_in_place(draft, path)
    except OSError as error:
        if error.filename == str(draft):
            error.filename = str(path)
        raise


@contextmanager
def removed(draft: Path) -> Iterator[None]:
    """Context at whose end a draft is removed, where it has not taken its place."""
    try:
        yield
    finally:
        _remove(draft)


def put_in_place(draft: Path, path: Path) -> None:
    """Move a draft to its place, and wait until both are on the disk."""
    to_disk(draft)
    draft.replace(path)
    sync(path.parent)


def to_disk(path: Path) -> None:
    """Wait until a file, or a folder with all files in it, is on the disk.

    A file system may write the name of a file before its content; a power cut between
    them would leave an empty file.
    """
    if path.is_dir():
        from concurrent.futures import ThreadPoolExecutor

        found = [Path(one, name) for one, _, names in os.walk(path) for name in names]
        folders = [Path(one) for one, _, _ in os.walk(path)]
        # Together they need a tenth of the time of one after the other.
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(sync, found + folders))
    else:
        sync(path)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        if not (path.is_dir() and error.errno in NO_WAIT):
            error.filename = str(path)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Context whose failed writes name a path."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # numpy gives only the numbers of bytes
            raise _write_error(path, errno.EIO, f" ({error})") from error
        error.filename = error.filename or str(path)
        raise
    except Exception as error:
        found = OS_ERROR.search(str(error))
        if found is None:
            raise
        number = int(found[1] or found[2] or errno.EIO)
        raise _write_error(path, number) from error


def _write_error(path: Path, number: int, more: str = "") -> OSError:
    """Return the error of a failed write."""
    with suppress(OSError):
        if number == errno.EIO and shutil.disk_usage(path.parent).free < FULL:
            number = errno.ENOSPC
    return OSError(number, os.strerror(number) + more, str(path))


def new_draft(path: Path) -> Path:
    """Path of a draft of a file; those that ended processes left are removed."""
    _remove_left(path.parent, f".{path.name}.")
    draft = path.with_name(f".{path.name}.{_owner()}.tmp")
    _remove(draft)  # of a command of this process that could not remove it
    return draft


@contextmanager
def scratch() -> Iterator[Path]:
    """Context of an empty folder among the temporary files, removed at the end.

    Those that ended processes left are removed at the start.
    """
    _remove_left(Path(tempfile.gettempdir()), "twotower-")
    with tempfile.TemporaryDirectory(prefix=f"twotower-{_owner()}-") as folder:
        yield Path(folder)


def _owner() -> str:
    """Return the name of this process on this host."""
    return f"{_host()}-{os.getpid()}"


@functools.cache
def _host() -> str:
    """Return a hash of the host, its boot and the container.

    A process number identifies a process only within these: hosts that share a disk may
    have the same name, and each container numbers its own processes.
    """
    parts = [platform.node()]
    with suppress(OSError):  # Linux has these files
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:8]


def _remove_left(folder: Path, prefix: str) -> None:
    """Remove the drafts of a prefix whose processes have ended."""
    with os.scandir(folder) as entries:
        left = [Path(one) for one in entries if one.name.startswith(prefix)]
    for draft in left:
        found = OWNER.match(draft.name, len(prefix))
        if found and not _is_written(draft, found[1], int(found[2])):
            _remove(draft)


def _is_written(draft: Path, host: str, process: int) -> bool:
    """Return whether a draft may belong to a process that is running."""
    try:
        if host != _host():
            return time.time() - draft.stat().st_mtime < SECONDS
        os.kill(process, 0)
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        return False
    except OSError:  # it is of another user
        return True
    return True


def _remove(draft: Path) -> None:
    """Remove a draft, but for one of another user or on a disk that refuses it."""
    if draft.is_dir() and not draft.is_symlink():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        with suppress(OSError):
            draft.unlink()
