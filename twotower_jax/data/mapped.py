"""Memory maps, which a large log is read by, some rows at a time."""

import math
import mmap
from collections.abc import Iterator
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
