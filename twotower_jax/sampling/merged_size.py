"""The number of merged columns of a batch: a static size, from counts of clicks."""

from typing import NamedTuple

import numpy as np

# Products on accelerators work on tiles of 128 columns.
WIDTH = 128
# One batch in a billion has more distinct items, if their number is normal.
DEVIATIONS = 6


class DistinctNumber(NamedTuple):
    """The number of distinct items among draws.

    Attributes:
      mean: expected number.
      variance: of the number.
    """

    mean: float
    variance: float


def distinct_number(counts: np.ndarray, draws: int, items: int = 1) -> DistinctNumber:
    """Mean and variance of the number of distinct items among draws with replacement.

    With probabilities q_i and e_i = (1 - q_i)^n, that of no draw of item i, the mean is
    sum_i (1 - e_i). The variance is that of items with independent Poisson counts,
    given the sum n of the counts: sum_i e_i (1 - e_i) - n (sum_i q_i e_i)^2.

    Args:
      counts: [c] numbers to which the probabilities are proportional.
      draws: number n of draws.
      items: number of items that have each of the counts.

    Returns:
      The mean is exact, the variance holds for many draws.

    Examples:
      >>> distinct_number(np.ones(2), 2).mean
      1.5
      >>> distinct_number(np.ones(1), 2, items=2).mean
      1.5
    """
    share = np.asarray(counts, np.float64) / (np.sum(counts) * items)
    absent = (1 - share) ** draws
    number = np.full(len(share), items)
    return _number(absent, share * draws * absent, draws, number)


def distinct_of_batch(counts: np.ndarray, batch: int, items: int = 1) -> DistinctNumber:
    """Mean and variance of the number of distinct items in a batch of an epoch.

    The rows of an epoch are read without replacement, so that a batch of n of N rows
    has more distinct items than n draws with replacement. Each row is in the batch with
    p = n / N, and e_i = (1 - p)^(c_i) is the probability that no row of item i is. The
    variance is that of independent rows, given their number n: sum_i e_i (1 - e_i) -
    (sum_i c_i p e_i)^2 / (N p (1 - p)).

    Args:
      counts: [c] numbers of rows of an epoch, or their expectations.
      batch: number n of rows of a batch.
      items: number of items that have each of the counts.

    Returns:
      Both hold for large batches.

    Examples:
      >>> distinct_of_batch(np.ones(10), 5)
      DistinctNumber(mean=5.0, variance=0.0)
    """
    # Most items have one of a few counts.
    counts, number = np.unique(np.asarray(counts, np.float64), return_counts=True)
    number = items * number
    rows = float(number @ counts)
    part = min(1.0, batch / rows)
    absent = (1 - part) ** counts
    spread = rows * part * (1 - part)
    return _number(absent, counts * part * absent, spread, number)


def _number(
    absent: np.ndarray, covariance: np.ndarray, spread: float, items: np.ndarray
) -> DistinctNumber:
    """Return the number of items that are present, given the number of all rows.

    Args:
      absent: [c] probabilities of items.
      covariance: [c] of the presence of an item and its number of rows.
      spread: variance of the number of all rows.
      items: [c] numbers of items that have these probabilities.
    """
    variance = items @ (absent * (1 - absent))
    if spread:
        variance -= (items @ covariance) ** 2 / spread
    present = float(items @ (1 - absent))
    return DistinctNumber(present, max(float(variance), 0.0))


def merged_size(counts: np.ndarray, batch: int, drawn: int, items: int = 1) -> int:
    """Number of columns that a merged batch is given: a static size.

    The expected number of distinct items of a batch plus six standard deviations,
    rounded up to 128, plus every shared draw. A batch that does not fit is computed at
    full size.

    Args:
      counts: [c] rows of an epoch, by item.
      batch: rows B of a batch.
      drawn: shared draws of a batch.
      items: number of items that have each of the counts.

    Returns:
      The size, at most batch + drawn.

    Examples:
      >>> merged_size(np.full(10, 900), batch=1024, drawn=32)
      160
    """
    found = distinct_of_batch(counts, batch, items)
    most = found.mean + DEVIATIONS * np.sqrt(found.variance)
    return min(batch, int(np.ceil(most / WIDTH)) * WIDTH) + drawn


def merged_size_of_arms(
    counts: np.ndarray, weights: np.ndarray, batch: int, drawn: int
) -> int:
    """Number of merged columns of a run whose positives may be resampled.

    It is at least that of the log, so that arms share a program where they can.

    Args:
      counts: [num_items] positives of the log.
      weights: [num_items] copies of a positive of each item in an epoch.
      batch, drawn: of `merged_size`.
    """
    sizes = [merged_size(counts, batch, drawn)]
    if (weights[counts > 0] != 1).any():
        sizes.append(merged_size(counts * weights, batch, drawn))
    return max(sizes)
