"""Draws of the positives of one epoch from the weights of their items."""

import numpy as np


def repeated(
    items: np.ndarray, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Rows floor(w) times each, and once more with probability w - floor(w).

    For w below 1 a row is kept with probability w. Rows are independent.

    Args:
      items: [rows] item of each training positive.
      weights: [num_items] float64 w of each item.
      generator: of the epoch.

    Returns:
      [drawn] int32 numbers of rows, ascending.

    Examples:
      >>> rng = np.random.default_rng(0)
      >>> repeated(np.array([0, 1, 1]), np.array([2.0, 0.0]), rng).tolist()
      [0, 0]
    """
    whole = np.floor(weights)
    extra = generator.random(len(items)) < (weights - whole)[items]
    return np.repeat(
        np.arange(len(items), dtype=np.int32), whole.astype(int)[items] + extra
    )


def with_replacement(
    items: np.ndarray, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """As many draws as there are rows, each independent and in proportion to w.

    Equivalent to drawing an item in proportion to c_i w_i and then one of its positives
    uniformly. The uniform numbers come in ascending order (normalised sums of
    exponential ones), so the look-up takes O(n).

    Args:
      items: [rows] item of each training positive.
      weights: [num_items] float64 w of each item.
      generator: of the epoch.

    Returns:
      [rows] int32 numbers of rows, ascending.
    """
    ends = np.cumsum(weights[items])
    sums = np.cumsum(generator.standard_exponential(len(items) + 1))
    at = sums[:-1] * (ends[-1] / sums[-1])
    rows = np.searchsorted(ends, at, side="right")
    return np.minimum(rows, len(items) - 1).astype(np.int32)


def without_replacement(
    items: np.ndarray, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Exactly round(c_i w_i) different rows of every item, drawn uniformly.

    All rows of items with w = 1 are taken. The others are shuffled and grouped by item,
    and the first rows of each group are taken.

    Args:
      items: [rows] item of each training positive.
      weights: [num_items] float64 w of each item.
      generator: of the epoch.

    Returns:
      [drawn] int32 numbers of rows.

    Examples:
      >>> rng = np.random.default_rng(0)
      >>> len(without_replacement(np.zeros(4, int), np.array([0.5]), rng))
      2
    """
    full = weights[items] >= 1
    rest = generator.permutation(np.flatnonzero(~full))
    rest = rest[np.argsort(items[rest], kind="stable")]
    number = np.bincount(items[rest], minlength=len(weights))
    begin = np.cumsum(number) - number
    quota = np.rint(number * weights).astype(int)
    within = np.arange(len(rest)) - np.repeat(begin, number)
    taken = rest[within < np.repeat(quota, number)]
    return np.concatenate([np.flatnonzero(full), taken]).astype(np.int32)
