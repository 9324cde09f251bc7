"""Baselines: scores of items that need no training."""

from collections.abc import Callable

import numpy as np

from twotower_jax.registry import Registry


def popularity(counts: np.ndarray) -> np.ndarray:
    """Training positives of each item, the same scores for every query.

    Args:
      counts: [num_items] int64.

    Returns:
      [num_items] float32.

    Examples:
      >>> popularity(np.array([3, 0])).tolist()
      [3.0, 0.0]
    """
    return counts.astype(np.float32)


BASELINES: Registry[Callable[[np.ndarray], np.ndarray]] = Registry(
    "towers.kind", {"popularity": popularity}
)
