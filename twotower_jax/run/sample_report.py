"""The data and the samples of a run, reported before training."""

import io
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.data.drafts import draft_of
from twotower_jax.negatives.funnel import REJECTED, THROUGH, Funnel, parse_stage
from twotower_jax.run.loader import Loaded
from twotower_jax.training.problem import Problem

COLOURS = {"before": "#0072B2", "after": "#D55E00"}  # Okabe and Ito
STYLES = {"before": "--", "after": "-"}
POINTS = 2_000  # of a line; more are not visible
INK = "0.45"  # of the line of comparison

EXPOSED = (
    "warning: items that were shown and not clicked are negatives here. Users often "
    "like such items: as negatives of retrieval they are a well-known mistake, as "
    "negatives of ranking they are not. Compare with an arm that leaves them out."
)

CAME_THROUGH = (
    "note: items of the stages {stages} came through ranking, and users like many of "
    "them; the hard negatives that pre-ranking and ranking rejected are "
    f"negatives.hard.stages=[{','.join(REJECTED)}]."
)

# Negatives per positive from which a pointwise loss needs an offset.
MANY = 50

# Data whose details were printed: a sweep prints them once.
_described: set[str] = set()


def print_data(
    console: Console, data: Loaded, stages: Mapping[str, Mapping[str, float]]
) -> None:
    """Print the size of the data; once per process also dropped rows and the stages."""
    say = partial(console.print, highlight=False, soft_wrap=True)
    parts = data.split
    say(
        f"data {data.fingerprint}: {data.log.num_users:,} users, "
        f"{data.log.num_items:,} items, {len(data.log.user):,} rows; positives: "
        f"{len(parts.train):,} train, {len(parts.valid):,} valid, "
        f"{len(parts.test):,} test"
    )
    if data.fingerprint in _described:
        return
    _described.add(data.fingerprint)
    for reason, number in (data.log.dropped | parts.report).items():
        if number:
            say(f"  {reason}: {number:,}")
    for stage, truth in stages.items():
        say(
            f"  furthest stage {stage}: {truth['rows']:,} rows, true click rate "
            f"{truth['click_rate']:.3f}, AUC of clicks {truth.get('auc', math.nan):.3f}"
        )


def report_samples(
    config: Config, data: Loaded, problem: Problem, folder: Path, console: Console
) -> None:
    """Print statistics of resampling and of hard pools; draw the resampled items."""
    say = partial(console.print, highlight=False, soft_wrap=True)
    report = problem.report or {}
    if config.positives.strategy != "none":
        say(format_report(report["positives"]))
        write_figure(folder / "positives.png", data.counts, problem.weights)
    if weights := report.get("weights"):
        say(
            f"weights of positives: {weights['without weight']:.1%} are 0, the largest "
            f"is {weights['largest weight']:,.3g} times the mean; effective sample "
            f"size {weights['effective samples']:,.0f}"
        )
    for reason, number in report.get("hard negatives", {}).items():
        if number:
            say(f"  {reason}: {number:,}")
    if available := report.get("available"):
        say(
            f"items known at a positive: {available['mean share']:.1%} of the "
            f"catalogue on average, {available['last share']:.1%} at the last one"
        )
    hard = config.negatives.hard
    if hard.num and isinstance(hard, Funnel):
        stages = {parse_stage(name)[0] for name in hard.stages}
        if "exposed" in stages:
            say(EXPOSED)
        if through := ", ".join(name for name in THROUGH if name in stages):
            say(CAME_THROUGH.format(stages=through))
    if warning := offset_warning(config, problem):
        say(warning)


def offset_warning(config: Config, problem: Problem) -> str | None:
    """Return a warning for a pointwise loss of many negatives without an offset."""
    loss, structure = config.loss, problem.program.structure
    negatives = structure.negatives
    drawn = negatives.shared_easy + negatives.slots + negatives.bank
    drawn += (config.training.batch_size - 1) * negatives.in_batch
    odds = loss.odds(drawn, structure.num_items)
    if odds is None or odds.negatives < MANY:
        return None
    number, share = odds
    return (
        f"warning: loss.name={loss.name} with {number:,} negatives per positive first "
        "lowers all scores, and may learn little else for many epochs; compare with "
        f"loss.offset={math.log(share):.1f}, which the ranking does not depend on"
    )


def format_report(report: dict[str, float]) -> str:
    """Return the statistics of `sampling.positives.resampling_report` in two lines."""

    def change(key: str, form: str) -> str:
        before, after = (format(report[f"{key} {when}"], form) for when in COLOURS)
        return before if before == after else f"{before} -> {after}"

    return (
        f"positives per epoch: {change('samples', ',.0f')} "
        f"(effective sample size {report['effective samples']:,.0f})\n"
        f"  top 1% of items: {change('top 1% share', '.1%')} of them; "
        f"Gini {change('gini', '.3f')}; "
        f"effective items {change('effective items', ',.1f')}"
    )


def write_figure(path: str | Path, counts: np.ndarray, weights: np.ndarray) -> None:
    """Draw the distribution of items before and after resampling, as PNG.

    Left, the share of each item against its rank; right, the share of the most
    frequent items together. Items are ranked once before and once after resampling.
    """
    # Imported on use: a run that draws nothing starts faster without it.
    import matplotlib
    from matplotlib.figure import Figure

    size = len(counts)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["axes.spines.top"] = False
        matplotlib.rcParams["axes.spines.right"] = False
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        for when, number in (("before", counts), ("after", counts * weights)):
            share = np.sort(number)[::-1] / np.sum(number)
            style, total = {"ls": STYLES[when], "c": COLOURS[when]}, np.cumsum(share)
            own = share[share > 0]
            at = _places(len(own))
            label = f"{when} ({len(own):,} items)"
            left.plot(at + 1, own[at], label=label, **style)
            at = _places(size)
            right.plot((at + 1) / size, total[at], label=when, **style)
        part = (_places(size) + 1) / size
        right.plot(part, part, ":", color=INK, label="all items alike")
        left.set(xscale="log", yscale="log", title="Share of each item")
        left.set(xlabel="rank of the item, most frequent first")
        left.set(ylabel="share of training positives")
        right.set(
            xscale="log", ylim=(0, 1.02), title="Share of the most frequent items"
        )
        right.set(xlabel="part of the catalogue, most frequent first")
        right.set(ylabel="share of training positives, cumulated")
        right.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
        right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        right.tick_params(axis="x", labelsize=8)
        for axes in (left, right):
            axes.grid(alpha=0.2)
            axes.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    with draft_of(Path(path)) as draft:
        draft.write_bytes(buffer.getvalue())


def _places(size: int) -> np.ndarray:
    """Return at most POINTS ranks from 0 to size - 1, evenly spaced by their log."""
    ranks = np.geomspace(1, size, POINTS) if size > POINTS else np.arange(1, size + 1)
    return np.unique(np.rint(ranks).astype(np.int64)) - 1
