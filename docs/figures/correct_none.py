"""The optimum of in-batch negatives without a correction."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import by_rank, zipf_counts
from figures.uniform import user_distribution
from twotower_jax.negatives.frequency import log_expected_count, log_frequency


def draw() -> Figure:
    """Return log P(j | u), and log P(j | u) - log N_j without its mean."""
    counts = zipf_counts()
    truth = np.log(user_distribution(counts, spread=0.3))
    log_n = np.asarray(log_expected_count((log_frequency(counts), 1023)))
    shifted = truth - log_n
    return by_rank(
        {
            "optimum with the correction": truth,
            "optimum without it": shifted - shifted.mean() + truth.mean(),
        },
        "optimal score, nats",
        log="x",
    )
