"""Chance that the draws of a row hold the row's own positive."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import by_rank, zipf_counts
from twotower_jax.negatives.easy import make_proposal
from twotower_jax.negatives.frequency import log_frequency


def draw() -> Figure:
    """Return lines for two batch sizes and for uniform draws."""
    counts = zipf_counts()
    share = np.exp(log_frequency(counts).astype(float))
    uniform = np.exp(np.asarray(make_proposal("uniform", counts).log_q, float))
    return by_rank(
        {
            "in-batch, 256": -np.expm1(255 * np.log1p(-share)),
            "in-batch, 4,096": -np.expm1(4095 * np.log1p(-share)),
            "uniform, 1,024": -np.expm1(1024 * np.log1p(-uniform)),
        },
        "probability of an own draw",
        log="x",
    )
