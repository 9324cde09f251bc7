"""The effective distribution of positives under the seven strategies."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import by_rank, zipf_counts
from twotower_jax.negatives import log_effective
from twotower_jax.positives import POSITIVES, item_weights
from twotower_jax.run.positives import resampling_report

SHOWN = ("samples before", "samples after", "top 1% share after", "effective samples")


def draw() -> Figure:
    """Return q+ by rank, one line per strategy."""
    counts = zipf_counts()
    figure = by_rank(
        {
            name: np.exp(log_effective(counts, item_weights(strategy(), counts)))
            for name, strategy in POSITIVES.items()
        },
        "share of the positives, q+",
    )
    figure.set_figheight(3.8)
    figure.axes[0].legend(loc="upper right", fontsize=9)
    return figure


def values() -> dict[str, str]:
    """Return the report of every strategy as a table."""
    counts = zipf_counts()
    rows = [
        "| strategy | positives per epoch | share of the top 1 % | effective samples |",
        "|---|---:|---:|---:|",
    ]
    for name, strategy in POSITIVES.items():
        report = resampling_report(counts, item_weights(strategy(), counts))
        after, top, effective = (report[key] for key in SHOWN[1:])
        rows.append(f"| `{name}` | {after:,.0f} | {top:.1%} | {effective:,.0f} |")
    return {"table": "\n".join(rows)}
