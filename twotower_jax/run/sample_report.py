"""What resampling did to the positives of a run: two lines and a figure."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"before": "#0072B2", "after": "#D55E00"}  # Okabe and Ito
STYLES = {"before": "--", "after": "-"}
POINTS = 2_000  # of a line; more cannot be told apart
INK = "0.45"  # of what is only there to compare with


def format_report(report: dict[str, float]) -> str:
    """Format what `sampling.positives.resampling_report` returns, in two lines."""

    def change(key: str, form: str) -> str:
        before, after = (format(report[f"{key} {when}"], form) for when in COLOURS)
        return before if before == after else f"{before} -> {after}"

    return (
        f"positives an epoch: {change('samples', ',.0f')} "
        f"(effective sample size {report['effective samples']:,.0f})\n"
        f"  top 1% of items: {change('top 1% share', '.1%')} of them; "
        f"Gini {change('gini', '.3f')}; "
        f"effective items {change('effective items', ',.1f')}"
    )


def write_figure(path: str | Path, counts: np.ndarray, weights: np.ndarray) -> None:
    """Draw the distribution of items before and after resampling, as PNG.

    Left, the share of each item against its rank; right, the share of the most
    frequent items together (the Lorenz curve from its other end). Before and after
    each have a ranking of their own.

    Args:
      path: of the file; its folder exists.
      counts: [num_items] positives c_i of each item.
      weights: [num_items] w_i, what `sampling.positives.item_weights` returns.
    """
    # Imported here: a run that draws nothing starts faster without it.
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["axes.spines.top"] = False
        matplotlib.rcParams["axes.spines.right"] = False
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        shares = {"before": _shares(counts), "after": _shares(counts * weights)}
        _by_rank(left, shares)
        _cumulated(right, shares)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    Path(path).write_bytes(buffer.getvalue())


def _shares(number: np.ndarray) -> np.ndarray:
    """Return the items' shares [num_items], the largest first."""
    return np.sort(number)[::-1] / np.sum(number)


def _places(size: int) -> np.ndarray:
    """Return at most POINTS ranks from 0 to size - 1, evenly spaced by their log."""
    ranks = np.geomspace(1, size, POINTS) if size > POINTS else np.arange(1, size + 1)
    return np.unique(np.rint(ranks).astype(np.int64)) - 1


def _by_rank(axes: "Axes", shares: dict[str, np.ndarray]) -> None:
    """Draw share against rank, both logarithmic; items without any are left out."""
    for when, share in shares.items():
        share = share[share > 0]
        at = _places(len(share))
        label = f"{when} ({len(share):,} items)"
        axes.plot(at + 1, share[at], STYLES[when], color=COLOURS[when], label=label)
    axes.set(xscale="log", yscale="log", title="Share of each item")
    axes.set(xlabel="rank of the item, most frequent first")
    axes.set(ylabel="share of training positives")
    axes.grid(alpha=0.2)
    axes.legend(frameon=False)


def _cumulated(axes: "Axes", shares: dict[str, np.ndarray]) -> None:
    """Draw the share of the most frequent items against their share of all items."""
    for when, share in shares.items():
        at = _places(len(share))
        total = np.cumsum(share)[at]
        part = (at + 1) / len(share)
        axes.plot(part, total, STYLES[when], color=COLOURS[when], label=when)
    size = len(shares["before"])
    part = (_places(size) + 1) / size
    axes.plot(part, part, ":", color=INK, label="all items alike")
    axes.set(xscale="log", ylim=(0, 1.02), title="Share of the most frequent items")
    axes.set(xlabel="part of the catalogue, most frequent first")
    axes.set(ylabel="share of training positives, cumulated")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(alpha=0.2)
    axes.legend(frameon=False)
