"""Memory maps of a large log, which is read some rows, or some users, at a time."""

import math
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

# Rows that are read at a time: about a gigabyte with what is made of them.
ROWS = 2**24


def blocks(number: int) -> Iterator[slice]:
    """Yield slices of `ROWS` rows each, and of the rest.

    Examples:
      >>> list(blocks(2**24 + 5))
      [slice(0, 16777216, None), slice(16777216, 16777221, None)]
    """
    for first in range(0, number, ROWS):
        yield slice(first, min(first + ROWS, number))


def new_map(path: Path, shape: int | tuple[int, ...], kind: str = "<i4") -> np.memmap:
    """Return a memory map of a new file, whose space is taken at once.

    A map that finds the disk full ends the process without a message.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    size = np.dtype(kind).itemsize
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in blocks(math.prod(shape)):
            file.write(bytes(size * (part.stop - part.start)))
    return np.lib.format.open_memmap(path, mode="r+")


def release(values: np.ndarray) -> None:
    """Give the pages of a memory map that were read back to the operating system.

    They are read again where they are used. Other arrays stay as they are.
    """
    mapped = getattr(values, "_mmap", None)  # numpy gives no other way to the map
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def ranges_of_users(
    users: Sequence[np.ndarray], num_users: int, rows: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield ranges of users with at most so many rows together, or of one user."""
    most = ROWS if rows is None else rows
    number = np.zeros(num_users, np.int64)
    for user in users:
        for some in blocks(len(user)):
            number += np.bincount(user[some], minlength=num_users)
    total, first = np.concatenate([[0], np.cumsum(number)]), 0
    while first < num_users:
        end = int(np.searchsorted(total, total[first] + most, side="right")) - 1
        end = max(end, first + 1)
        yield first, end
        first = end


def rows_of_users(user: np.ndarray, first: int, end: int) -> np.ndarray:
    """Return the rows of a range of users."""
    found = []
    for rows in blocks(len(user)):
        part = user[rows]
        found.append(rows.start + np.flatnonzero((part >= first) & (part < end)))
    release(user)
    return np.concatenate(found) if found else np.zeros(0, np.int64)
