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
    present = 1 - absent
    variance = items * (present * absent).sum()
    variance -= draws * (items * (share * absent).sum()) ** 2
    return DistinctNumber(float(items * present.sum()), max(float(variance), 0.0))


def merged_size(counts: np.ndarray, batch: int, drawn: int, items: int = 1) -> int:
    """Number of columns that a merged batch is given: a static size.

    The expected number of distinct items of a batch plus six standard deviations,
    rounded up to 128, plus every shared draw. It depends on data and batch size alone,
    so that arms and seeds share a program; a batch that does not fit is computed at
    full size.

    Args:
      counts: [c] training positives.
      batch: rows B of a batch.
      drawn: shared draws of a batch.
      items: number of items that have each of the counts.

    Returns:
      The size, at most batch + drawn.

    Examples:
      >>> merged_size(np.ones(10), batch=1024, drawn=32)
      160
    """
    found = distinct_number(counts, batch, items)
    most = found.mean + DEVIATIONS * np.sqrt(found.variance)
    return min(batch, int(np.ceil(most / WIDTH)) * WIDTH) + drawn
