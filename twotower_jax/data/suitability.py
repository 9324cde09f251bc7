"""Studies that a log supports, with the keys of a run for each."""

import numpy as np

from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.sources import SOURCES
from twotower_jax.negatives.funnel import REJECTED

# Stages of items that were discarded before anything was shown.
DISCARDED = tuple(stage for stage in Stage if stage < Stage.EXPOSED)


def studies(log: FunnelLog, source: str) -> dict[str, str]:
    """Studies that a log supports."""
    given = log.part is not None
    return _hard_studies(log) | {
        "temporal split": _answer(
            log.time is not None, "data.split=temporal", "no times"
        ),
        "given split": _answer(given, "data.split=given", "it comes in one part"),
        "against the truth": _answer(
            source in SOURCES and SOURCES[source].has_truth,
            "evaluation.truth=true",
            "only the simulator has it",
        ),
    }


def _hard_studies(log: FunnelLog) -> dict[str, str]:
    """Return the studies of positives and negatives that a log supports."""
    counts = np.bincount(log.stage, minlength=len(Stage))
    stages = [name for name in REJECTED if counts[Stage[name.upper()]]]
    hard = "negatives=hard negatives.hard.stages="
    pool = "" if log.request is not None else " negatives.hard.pool=user (no requests)"
    exposed = f"{hard}[exposed] negatives.allow_exposed=true{pool}"
    ranks = log.rank is not None and bool((log.rank >= 0).any())
    return {
        "easy negatives, logQ": "yes",
        "positives resampling": "yes",
        "hard negatives by stage": _answer(
            bool(stages),
            f"{hard}[{','.join(stages)}]{pool}",
            "no item that pre-ranking or ranking rejected",
        ),
        "windows of ranks": _answer(
            bool(stages) and ranks, "such as pre_ranked:50-100", "no ranks in a stage"
        ),
        "exposed, not clicked": _answer(
            bool(counts[Stage.EXPOSED]),
            exposed,
            "no item that was shown and not clicked",
        ),
    }


def _answer(can: bool, how: str, why_not: str) -> str:
    return f"yes: {how}" if can else f"no: {why_not}"
