"""The log-uniform proposal beside clicks of two Zipf exponents."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import ITEMS, by_rank, zipf_counts
from twotower_jax.negatives.easy import make_proposal
from twotower_jax.negatives.frequency import log_frequency


def draw() -> Figure:
    """Return the proposal and the shares of clicks that it stands in for."""
    flat = np.rint(20_000 / np.sqrt(np.arange(1, ITEMS + 1)))
    log_uniform = make_proposal("log_uniform", zipf_counts())
    return by_rank(
        {
            "log-uniform": np.exp(log_uniform.log_q),
            "clicks, Zipf exponent 1": np.exp(log_frequency(zipf_counts())),
            "clicks, Zipf exponent 0.5": np.exp(log_frequency(flat)),
        },
        "probability of a draw",
    )
