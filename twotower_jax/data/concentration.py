"""Concentration of counts: how unevenly clicks or recommendations are spread."""

import numpy as np


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of counts, 0 where all are equal, (n - 1)/n where one has all.

      G = sum_j (2j - n - 1) c_j / (n sum_j c_j),  c_1 <= ... <= c_n

    Examples:
      >>> gini(np.array([1, 3]))
      0.25

    References:
      Gini, Measurement of Inequality of Incomes, The Economic Journal 1921.
    """
    ordered = np.sort(np.asarray(counts, np.float64))
    size, total = len(ordered), ordered.sum()
    if total == 0:
        return 0.0
    weights = 2 * np.arange(1, size + 1) - size - 1
    return float(weights @ ordered / (size * total))
