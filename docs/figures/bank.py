"""Distinct items among the negatives of a row, by size of the bank."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import lines, zipf_counts
from twotower_jax.negatives.frequency import log_frequency

SIZES = np.array([0, 1024, 2048, 4096, 8192, 16_384, 32_768])


def draw() -> Figure:
    """Return one line per batch size, for a catalogue of 20,000 items."""
    share = np.exp(log_frequency(zipf_counts(20_000, 2_000_000)).astype(float))
    series = {}
    for batch in (256, 1024, 4096):
        draws = batch - 1 + SIZES
        distinct = -np.expm1(draws[:, None] * np.log1p(-share)).sum(axis=1)
        series[f"batch of {batch}"] = SIZES, distinct
    return lines(series, "entries of the bank", "distinct items", marker="o")
