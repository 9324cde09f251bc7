"""Ragged: a set of items per query, in compressed rows."""

from typing import NamedTuple

import numpy as np


class Ragged(NamedTuple):
    """Items of each row, one row after the other."""

    offsets: np.ndarray  # int64 [rows + 1], rising from 0: the ends of the rows
    items: np.ndarray  # int32 [nnz]

    @property
    def num_rows(self) -> int:
        """Number of rows, empty ones included."""
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """int64 [rows]: number of items of each row."""
        return np.diff(self.offsets)

    def part(self, first: int, end: int) -> "Ragged":
        """The rows from first to end."""
        offsets = self.offsets[first : end + 1]
        return Ragged(offsets - offsets[0], self.items[offsets[0] : offsets[-1]])

    @property
    def rows(self) -> np.ndarray:
        """int64 [nnz]: the row of each item."""
        return np.repeat(np.arange(self.num_rows, dtype=np.int64), self.sizes)


def from_pairs(rows: np.ndarray, items: np.ndarray, num_rows: int) -> Ragged:
    """(row, item) pairs grouped by row; within a row items rise and are distinct.

    Args:
      rows: [n] integers in 0..num_rows-1, in any order; a row without pairs is empty.
      items: [n] integers, not negative; a repeated pair counts once.

    Raises:
      ValueError: when the lengths differ, a row is out of range or an item negative.
    """
    row = np.asarray(rows, dtype=np.int64).reshape(-1)
    item = np.asarray(items, dtype=np.int64).reshape(-1)
    if len(row) != len(item):
        raise ValueError(f"rows and items differ in length: {len(row)}, {len(item)}")
    if len(row) and (row.min() < 0 or row.max() >= num_rows):
        raise ValueError(
            f"rows must be in 0..{num_rows - 1}, got {row.min()}..{row.max()}"
        )
    if len(item) and item.min() < 0:
        raise ValueError(f"items must not be negative, got {item.min()}")
    span = int(item.max()) + 1 if len(item) else 1
    row, item = np.divmod(np.unique(row * span + item), span)
    offsets = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=num_rows), out=offsets[1:])
    return Ragged(offsets, item.astype(np.int32))


def keep(ragged: Ragged, kept: np.ndarray) -> Ragged:
    """The rows with only the items where kept bool [nnz] is true."""
    before = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
    return Ragged(before[ragged.offsets], ragged.items[kept])


def take_rows(ragged: Ragged, rows: np.ndarray) -> Ragged:
    """Some rows, in the order given."""
    sizes = ragged.sizes[rows]
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    shift = np.repeat(ragged.offsets[:-1][rows] - offsets[:-1], sizes)
    return Ragged(offsets, ragged.items[np.arange(offsets[-1]) + shift])
