"""What a run says of its training samples, before it trains."""

from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.config.negatives import parse_stage
from twotower_jax.run.inputs import Loaded
from twotower_jax.run.problem import positive_weights
from twotower_jax.run.records import RunFolder
from twotower_jax.run.sample_report import format_report, write_figure
from twotower_jax.training.loop import Problem

EXPOSED = (
    "warning: items that were shown and not clicked are negatives here. Users often "
    "like them: they are negatives of ranking, and as negatives of retrieval a "
    "well-known mistake. Compare with an arm that leaves them out."
)


def report_samples(
    config: Config, data: Loaded, problem: Problem, record: RunFolder, console: Console
) -> None:
    """Print what resampling and hard pools came to; draw the resampled items."""
    report = problem.report or {}
    if config.positives.strategy != "none":
        text = format_report(report["positives"])
        console.print(text, highlight=False, soft_wrap=True)
        weights = positive_weights(config, data.counts)
        write_figure(record.path / "positives.png", data.counts, weights)
    for reason, number in report.get("hard negatives", {}).items():
        if number:
            console.print(f"  {reason}: {number:,}", highlight=False, soft_wrap=True)
    hard = config.negatives.hard
    stages = {parse_stage(name)[0] for name in hard.stages}
    if hard.num and hard.source == "log" and "exposed" in stages:
        console.print(EXPOSED, highlight=False, soft_wrap=True)
