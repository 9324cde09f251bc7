"""Exact dot products, rankings with a rule for ties, and streams of random numbers."""

import zlib

import numpy as np

# Tastes are multiples of 1 / GRID. A dot product of two of them is then a sum of
# multiples of GRID ** -2 that float32 holds without rounding (up to a dimension of a
# few hundred), so that the order of the additions does not matter.
GRID = 64
_BITS = 31


def on_grid(values: np.ndarray) -> np.ndarray:
    """Values rounded to multiples of 1 / GRID, as float32.

    Examples:
      >>> on_grid(np.array([0.5, 0.49])).tolist()
      [0.5, 0.484375]
    """
    return (np.rint(values * GRID) / GRID).astype(np.float32)


def dots(rows: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Dot products of each row with its own vectors."""
    return np.einsum("nd,nkd->nk", rows, tables)


def smallest(keys: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k smallest integers of each row, in ascending order.

    Of equal integers the lower column comes first.

    Examples:
      >>> smallest(np.array([[7, 3, 3, 5]]), 3).tolist()
      [[1, 2, 3]]
    """
    width = keys.shape[1]
    # Key and column in one number: all differ, so that every sort has one result.
    packed = (keys.astype(np.int64) << _BITS) | np.arange(width)
    if k < width:
        packed = np.partition(packed, k - 1, axis=1)[:, :k]
    packed.sort(axis=1)
    return packed & ((1 << _BITS) - 1)


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k highest scores of each row, best first.

    Of equal scores the lower column comes first.

    Examples:
      >>> best(np.array([[0.5, -1.0, 2.0, 0.5]]), 3).tolist()
      [[2, 0, 3]]
    """
    # Adding 0 makes -0 and 0 alike; the bits of a float then sort like an integer.
    bits = (scores.astype(np.float32, copy=False) + np.float32(0)).view(np.int32)
    return smallest(~(bits ^ ((bits >> 31) & 0x7FFFFFFF)), k)


def choose(rng: np.random.Generator, rows: int, width: int, k: int) -> np.ndarray:
    """Uniform draw of distinct columns for each row."""
    if k >= width:
        return np.tile(np.arange(width), (rows, 1))
    keys = rng.integers(0, 1 << 31, (rows, width), np.int32)
    return np.sort(smallest(keys, k), axis=1)


def take(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values at given columns of each row."""
    return np.take_along_axis(values, columns, axis=1)


def stream(seed: int, name: str, block: int = 0) -> np.random.Generator:
    """Generator of one block of a named stream.

    Philox is counter-based: the key is a hash of seed and name, and each block has a
    counter of its own, so that blocks are independent of each other.
    """
    root = np.random.SeedSequence((seed, zlib.crc32(name.encode())))
    key = root.generate_state(2, np.uint64)
    counter = np.array([0, 0, 0, block], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
