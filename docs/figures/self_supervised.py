"""How often a step sees an item: as a positive, and among the items of the views."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import by_rank, zipf_counts

ROWS, VIEWED = 1024, 1024


def draw() -> Figure:
    """Return one line per loss."""
    counts = zipf_counts()
    return by_rank(
        {
            "positives of 1,024 rows": ROWS * counts / counts.sum(),
            "1,024 uniform items": np.full(len(counts), VIEWED / len(counts)),
        },
        "expected number in a step",
    )
