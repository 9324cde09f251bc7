"""Relative standard deviation of the estimated sum, by number of draws."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import lines, zipf_counts
from twotower_jax.negatives.easy import make_proposal

DRAWS = np.geomspace(4, 4096, 11).round()


def user_distribution(counts: np.ndarray, spread: float = 1.0) -> np.ndarray:
    """Return P(j | u) of a user whose taste is popularity times log-normal noise."""
    noise = np.random.default_rng(0).normal(0, spread, len(counts))
    share = counts * np.exp(noise)
    return share / share.sum()


def draw() -> Figure:
    """Return one line per proposal q: sqrt((sum P^2 / q - 1) / K)."""
    counts = zipf_counts()
    chance = user_distribution(counts)
    series = {}
    for label, alpha in (("uniform", 0.0), ("clicks^0.5", 0.5), ("clicks", 1.0)):
        log_q = np.asarray(make_proposal("popularity", counts, alpha=alpha).log_q)
        variance = (chance**2 / np.exp(log_q)).sum() - 1
        series[label] = DRAWS, np.sqrt(variance / DRAWS)
    return lines(series, "draws per row", "relative standard deviation", log="xy")
