"""Seen items as the pairs of a row and a column to mask, block by block."""

import numpy as np

from twotower_jax.evaluation.ragged import Ragged


def pair_width(seen: Ragged | None, block: int) -> int:
    """Return the pairs kept per block: those of the largest, up to a power of two.

    One width for all blocks means one compiled program; the power of two lets other
    data share it.
    """
    if seen is None or len(seen.items) == 0:
        return 0
    edges = np.append(seen.offsets[:-1:block], seen.offsets[-1])
    return 1 << int(np.diff(edges).max() - 1).bit_length()


def pairs_to_mask(
    seen: Ragged | None, first: int, shape: tuple[int, int], width: int, outside: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns int32 [blocks, width] to mask, from query `first` on.

    Unused places hold column `outside`, which the scatter drops.

    Args:
      shape: blocks, and queries per block.
    """
    blocks, block = shape
    rows = np.zeros((blocks, width), np.int32)
    columns = np.full((blocks, width), outside, np.int32)
    if seen is None or width == 0:
        return rows, columns
    for index in range(blocks):
        low = min(first + index * block, seen.num_rows)
        offsets = seen.offsets[low : low + block + 1]
        items = seen.items[offsets[0] : offsets[-1]]
        rows[index, : len(items)] = np.repeat(
            np.arange(len(offsets) - 1), np.diff(offsets)
        )
        columns[index, : len(items)] = items
    return rows, columns


def check_seen(seen: Ragged | None, num_queries: int, num_items: int) -> None:
    """Raise ValueError unless `seen` has a row per query and known items."""
    if seen is None:
        return
    if seen.num_rows != num_queries:
        raise ValueError(f"seen has {seen.num_rows} rows for {num_queries} queries")
    if len(seen.items) and not (seen.items.min() >= 0 and seen.items.max() < num_items):
        raise ValueError(
            f"seen items must be in 0..{num_items - 1}, "
            f"got {seen.items.min()}..{seen.items.max()}"
        )
