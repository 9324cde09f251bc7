"""Memory maps, which a large log is read by."""

import mmap

import numpy as np


def release(values: np.ndarray) -> None:
    """Give the pages of a memory map that were read back to the operating system.

    They are read again where they are used. Other arrays stay as they are.

    Args:
      values: any array.
    """
    mapped = getattr(values, "_mmap", None)  # numpy gives no other way to the map
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)
