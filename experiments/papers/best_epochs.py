"""Epochs after which each arm of a study is best on the valid part.

    python experiments/papers/best_epochs.py FOLDER METRIC

The mean over an arm's seeds is taken after every validation that all of them have: it
ends where the first seed ends, and the median of the best steps of single seeds does
not. The epochs are passes over the training positives of the run, so that as many
over more positives are more steps.
"""

import sys
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from twotower_jax.report.curves import read_records
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import read_runs


class Best(NamedTuple):
    """The best mean of an arm.

    Attributes:
      step: of the validation.
      value: mean of the metric over the seeds.
      seeds: their number.
      last: the last step that all seeds have.
      own: median over the seeds of the step at which each is best.
    """

    step: int
    value: float
    seeds: int
    last: int
    own: float


def best_mean(runs: Sequence[Sequence[dict[str, Any]]], metric: str) -> Best:
    """Return the largest mean over seeds of a metric, the first one of equals.

    Args:
      runs: the records of metrics.jsonl of each seed.
      metric: of the valid part.

    Raises:
      ValueError: The runs have no validation in common, or none with the metric.

    Examples:
      >>> one = [{"step": s, "valid": {"m": v}} for s, v in ((5, 0.1), (10, 0.4))]
      >>> two = [{"step": s, "valid": {"m": v}} for s, v in ((5, 0.6), (15, 0.9))]
      >>> best_mean([one, two], "m")
      Best(step=5, value=0.35, seeds=2, last=5, own=12.5)
    """
    values = [
        {
            one["step"]: one["valid"][metric]
            for one in ones
            if metric in (one.get("valid") or {})
        }
        for ones in runs
    ]
    steps = sorted(set.intersection(*map(set, values)))
    if not steps:
        raise ValueError(f"the seeds have no validation with {metric} in common")
    means = {step: sum(one[step] for one in values) / len(values) for step in steps}
    best = max(means, key=lambda step: means[step])
    own = median(max(one, key=lambda step: one[step]) for one in values)
    return Best(best, means[best], len(values), steps[-1], own)


def main(folder: str, metric: str) -> None:
    """Print the best mean of every arm."""
    runs = read_runs(folder).finished
    arms: dict[str, list[Any]] = {}
    for name, run in zip(name_arms([one.config for one in runs]), runs, strict=True):
        arms.setdefault(name, []).append(run)
    for name, ones in arms.items():
        records = [read_records(one.path / "metrics.jsonl") for one in ones]
        try:
            best = best_mean(records, metric)
        except ValueError as error:
            print(f"{name}: {error}")  # such as a baseline
            continue
        positives = ones[0].result["samples"]["positives"]["samples before"]
        batch = ones[0].config["training"]["batch_size"]
        print(
            f"{name}: {metric} {best.value:.4f} on valid, mean of {best.seeds} seeds, "
            f"at step {best.step:,}, epoch {best.step * batch / positives:.1f}; "
            f"all seeds have step {best.last:,}; each at its own, median epoch "
            f"{best.own * batch / positives:.1f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
