"""The finished runs of a study as arms over seeds, in one tidy table."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from twotower_jax.data.text_files import write_text
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import Run, Runs

COSTS = ("seconds", "examples", "examples_per_second")
# Counts of result.json, under "samples", that are 0 where a source did not act.
IDLE = {"bank": "steps to the best step", "mining": "minings to the best step"}
SCHEMA = {
    "arm": pl.String,
    "seed": pl.Int64,
    "split": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "seconds": pl.Float64,
    "examples": pl.Float64,
    "examples_per_second": pl.Float64,
    "run": pl.String,
}


def study_table(runs: Runs) -> pl.DataFrame:
    """Tidy table of a study: one row per arm, seed, split and metric.

    Returns:
      Columns arm, seed, split, metric, value, seconds, examples (training examples),
      examples_per_second and run (folder name), sorted by arm and seed; a value that
      is not finite is null.
    """
    names = name_arms([run.config for run in runs.finished])
    rows = []
    for name, run in sorted(
        zip(names, runs.finished, strict=True),
        key=lambda pair: (pair[0], pair[1].seed, pair[1].name),
    ):
        costs = [_cost(run, cost) for cost in COSTS]
        for split, metrics in run.result["metrics"].items():
            for metric, value in metrics.items():
                row = (name, run.seed, split, metric, _number(value))
                rows.append((*row, *costs, run.name))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def idle_sources(runs: Runs) -> list[str]:
    """The arms with a source of negatives that did not act on what is evaluated.

    Of some run of the arm the best parameters are from before the bank was first used,
    or before the first mining.
    """
    names = name_arms([run.config for run in runs.finished])
    found = set()
    for name, run in zip(names, runs.finished, strict=True):
        samples = run.result.get("samples")
        samples = samples if isinstance(samples, dict) else {}
        for source in IDLE:
            counts = samples.get(source)
            if isinstance(counts, dict) and counts.get(IDLE[source]) == 0:
                found.add(f"{name} ({source})")
    return sorted(found)


def _cost(run: Run, cost: str) -> float | None:
    """Return a cost of a run; its examples are steps times the batch size."""
    if cost != "examples":
        return _number(run.result.get(cost))
    training = run.config.get("training")
    size = training.get("batch_size") if isinstance(training, dict) else None
    steps, size = _number(run.result.get("steps")), _number(size)
    return None if steps is None or size is None else steps * size


def _number(value: Any) -> float | None:
    """Return a finite number as float, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def summary(
    table: pl.DataFrame, metrics: Sequence[str], split: str = "test"
) -> pl.DataFrame:
    """Mean and standard deviation over seeds of each arm and metric.

    Examples:
      >>> row = {"arm": "bce", "split": "test", "metric": "recall@20", "seconds": 9.0}
      >>> row |= {"examples": 64.0, "examples_per_second": 7.0}
      >>> table = pl.DataFrame(
      ...     [row | {"run": "a", "value": 0.1}, row | {"run": "b", "value": 0.3}]
      ... )
      >>> arm, metric, mean, sd, seeds = summary(table, ["recall@20"]).row(0)
      >>> round(mean, 3), round(sd, 3), seeds
      (0.2, 0.141, 2)
    """
    keys = ["arm", "metric"]
    rows = table.filter(pl.col("split") == split)
    once = table.unique("run", maintain_order=True).select("arm", *COSTS)
    costs = once.unpivot(on=list(COSTS), index="arm", variable_name="metric")
    values = pl.concat([rows.select(*keys, "value"), costs.select(*keys, "value")])
    numbers = values.group_by(keys, maintain_order=True).agg(
        mean=pl.col("value").mean(),
        sd=pl.col("value").std(ddof=1),
        seeds=pl.col("value").count().cast(pl.Int64),
    )
    arms = table.select("arm").unique(maintain_order=True)
    cells = arms.join(pl.DataFrame({"metric": list(metrics)}), how="cross")
    joined = cells.join(numbers, on=keys, how="left", maintain_order="left")
    return joined.with_columns(pl.col("seeds").fill_null(0))


def write_study(table: pl.DataFrame, folder: str | Path) -> Path:
    """Write study.csv."""
    return write_text(Path(folder) / "study.csv", table.write_csv())
