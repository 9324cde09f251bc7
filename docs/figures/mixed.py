"""Expected counts of in-batch negatives, uniform negatives and their mixture."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import by_rank, zipf_counts
from twotower_jax.negatives.easy import make_proposal
from twotower_jax.negatives.frequency import log_expected_count, log_frequency


def draw() -> Figure:
    """Return the counts of a batch of 1,024 with 1,024 uniform draws."""
    counts = zipf_counts()
    in_batch = (log_frequency(counts), 1023)
    uniform = (make_proposal("uniform", counts).log_q, 1024)
    return by_rank(
        {
            "in-batch, 1,023 draws": np.exp(log_expected_count(in_batch)),
            "uniform, 1,024 draws": np.exp(log_expected_count(uniform)),
            "mixture": np.exp(log_expected_count(in_batch, uniform)),
        },
        "expected count in a row",
    )
