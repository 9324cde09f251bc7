"""Expected count of an item among the in-batch negatives of a row."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import by_rank, zipf_counts
from twotower_jax.negatives.frequency import log_expected_count, log_frequency


def draw() -> Figure:
    """Return one line per batch size."""
    log_q = log_frequency(zipf_counts())
    return by_rank(
        {
            f"batch of {batch}": np.exp(log_expected_count((log_q, batch - 1)))
            for batch in (256, 1024, 4096)
        },
        "expected count in a row",
    )
