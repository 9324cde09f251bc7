"""Comparison of the arms of a study to its base arm, paired by seed and query."""

import math
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.errors import InputError, closest
from twotower_jax.evaluation.metrics import larger_is_better
from twotower_jax.study.arms import study_table, write_whole
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import Run, Runs
from twotower_jax.study.spread import LEVEL
from twotower_jax.study.statistics import Difference, compare, holm
from twotower_jax.study.tables import main_split

QUERIES = "queries.parquet"
# "No difference seen" requires a study that would detect this share of the base's mean.
RELEVANT = 0.05
COLUMNS = {
    "arm": pl.String,
    "base": pl.String,
    "metric": pl.String,
    "mean": pl.Float64,
    "base_mean": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_holm": pl.Float64,
    "smallest_visible": pl.Float64,
    "seeds": pl.Int64,
    "queries": pl.Int64,
    "interval_over": pl.String,
    "verdict": pl.String,
}


def choose_base(
    table: pl.DataFrame, requested: str | None = None, recorded: str | None = None
) -> str:
    """Base arm of a study: the requested one, the recorded one, or the first.

    Args:
      table: the result of `arms.study_table`; its arms are sorted by name.
      requested: the arm that the user names; it must be in the table.
      recorded: the base arm in study.json, if any; it may have no run yet.

    Returns:
      The name of an arm in the table.

    Raises:
      InputError: when the requested arm is not in the table.

    Examples:
      >>> table = pl.DataFrame({"arm": ["bce", "softmax"]})
      >>> choose_base(table), choose_base(table, recorded="softmax")
      ('bce', 'softmax')
    """
    arms: list[str] = table["arm"].unique(maintain_order=True).to_list()
    if requested is None:
        return recorded if recorded is not None and recorded in arms else arms[0]
    if requested not in arms:
        near = closest(requested, arms)
        # The nearest first: a study can have many arms.
        ratio = {arm: SequenceMatcher(None, requested, arm).ratio() for arm in arms}
        listed = sorted(arms, key=lambda arm: -ratio[arm])
        raise InputError(
            f"the base arm {requested!r} has no finished run in this study"
            + (f" ({near})" if near else "")
            + f"; choose one of {', '.join(map(repr, listed))}: twotower report DIR "
            "--base ARM"
        )
    return requested


def compare_arms(runs: Runs, metrics: Sequence[str], base: str) -> pl.DataFrame:
    """Comparison of every arm of a study to its base arm.

    Args:
      runs: the result of `runs.read_runs`.
      metrics: the metrics to compare; one without values per query (coverage) gets
        its means and no interval.
      base: the name of the base arm.

    Returns:
      COLUMNS, one row per metric and arm other than the base. Holm's correction is
      over the arms, for each metric. NaN is null.

    Raises:
      InputError: when the test queries of two runs differ.
    """
    table = study_table(runs)
    queries = _read_queries(runs.finished, metrics, main_split(table))
    arms: dict[str, dict[int, Run]] = {}
    names = name_arms([run.config for run in runs.finished])
    for name, run in sorted(zip(names, runs.finished, strict=True), key=_name_and_seed):
        arms.setdefault(name, {})[run.seed] = run
    pairing = _Pairing(table, queries, tests=len(arms) - 1)
    rows = []
    for metric in metrics:
        differences = {
            arm: _difference(pairing, metric, by_seed, arms[base])
            for arm, by_seed in arms.items()
            if arm != base
        }
        adjusted = holm(np.array([one.p for one in differences.values()]))
        for (arm, one), p in zip(differences.items(), adjusted.tolist(), strict=True):
            values = (arm, base, metric, *one[:6], p, *one[6:])
            larger = larger_is_better(metric)
            rows.append((*values, one.over, verdict(one, p, larger)))
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _name_and_seed(pair: tuple[str, Run]) -> tuple[str, int]:
    return pair[0], pair[1].seed


def _read_queries(
    finished: Sequence[Run], metrics: Sequence[str], split: str
) -> dict[Path, pl.DataFrame]:
    """Return the metrics per query of each run that has them, in one order.

    The columns that are not metrics (neither named in result.json nor fractional)
    identify a query; the n-th row of one identity is the same query in every run.
    """
    if split != "test":
        return {}  # the file holds the test queries
    frames: dict[Path, pl.DataFrame] = {}
    first: tuple[str, pl.DataFrame] | None = None
    for run in finished:
        frame = _read_frame(run.path / QUERIES)
        metric_names = run.result["metrics"].get(split, {})
        identity = [
            name
            for name, kind in frame.schema.items()
            if name not in metric_names and not kind.is_float()
        ]
        if not identity:
            continue
        frame = frame.sort(identity, maintain_order=True)
        ours = frame.select(identity)
        first = first or (run.name, ours)
        if not ours.equals(first[1]):
            raise InputError(
                f"{first[0]} and {run.name} are tested on different queries "
                f"({len(first[1])} and {len(ours)}) and cannot be compared; move the "
                "runs into separate folders"
            )
        frames[run.path] = frame.select(
            name for name in metrics if frame.schema.get(name) == pl.Float64
        )
    return frames


def _read_frame(path: Path) -> pl.DataFrame:
    """Return a parquet file; a table without columns where it cannot be read."""
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        return pl.DataFrame()


class _Pairing(NamedTuple):
    """Everything besides two arms and a metric that their comparison needs.

    Attributes:
      table: the result of `arms.study_table`.
      queries: the metrics per query of each run that has them.
      tests: size of the family of Holm's correction.
    """

    table: pl.DataFrame
    queries: dict[Path, pl.DataFrame]
    tests: int

    def has(self, run: Run, metric: str) -> bool:
        """Return whether a run has a metric per query."""
        return run.path in self.queries and metric in self.queries[run.path].columns


def _difference(
    pairing: _Pairing, metric: str, arm: dict[int, Run], base: dict[int, Run]
) -> Difference:
    """Compare two arms by the seeds that both have; means alone without queries."""
    shared = sorted(set(arm) & set(base))
    with_queries = [
        seed
        for seed in shared
        if all(pairing.has(run, metric) for run in (arm[seed], base[seed]))
    ]
    if with_queries:
        values = [
            _values(pairing.queries, metric, one, with_queries) for one in (arm, base)
        ]
        return compare(*values, tests=pairing.tests)
    mean, base_mean = (
        _mean(pairing.table, metric, [one[seed] for seed in shared])
        for one in (arm, base)
    )
    nan = math.nan
    seeds = len(shared)
    return Difference(
        mean, base_mean, mean - base_mean, nan, nan, nan, nan, seeds, queries=0
    )


def _values(
    frames: dict[Path, pl.DataFrame], metric: str, arm: dict[int, Run], seeds: list[int]
) -> np.ndarray:
    """Return [seeds, queries] of a metric; NaN where a query has no value."""
    return np.stack([frames[arm[seed].path][metric].to_numpy() for seed in seeds])


def _mean(table: pl.DataFrame, metric: str, runs: Sequence[Run]) -> float:
    """Return the mean of a metric over runs, NaN without a value."""
    rows = table.filter(
        (pl.col("split") == main_split(table))
        & (pl.col("metric") == metric)
        & pl.col("run").is_in([run.name for run in runs])
    )
    value = rows["value"].mean()
    return float(value) if isinstance(value, int | float) else math.nan


def verdict(one: Difference, p_holm: float, larger: bool = True) -> str:
    """Verdict of a comparison, in words.

    Better and worse hold at 5 % after Holm's correction. "No difference seen" requires
    an interval that contains 0, and a study that would detect a difference of RELEVANT
    times the base's mean beside its other arms. Every other case, and every study of
    one seed, cannot tell.

    Args:
      one: the difference of an arm to the base.
      p_holm: its p value after Holm's correction.
      larger: whether larger values of the metric are better.

    Returns:
      "better", "worse", "no difference seen" or "cannot tell"; "" without an interval.

    Examples:
      >>> gain = Difference(0.3, 0.2, 0.1, 0.05, 0.15, 0.001, 0.02, seeds=3, queries=90)
      >>> verdict(gain, 0.002), verdict(gain._replace(seeds=1), 0.002)
      ('better', 'cannot tell')
    """
    if math.isnan(one.low):
        return ""
    if one.seeds < 2:
        return "cannot tell"
    if p_holm < 1 - LEVEL:
        return "better" if (one.difference > 0) == larger else "worse"
    return without_effect(one)


def without_effect(one: Difference) -> str:
    """Verdict of a difference that is not significant.

    Args:
      one: the difference of an arm to the base.

    Returns:
      "no difference seen" or "cannot tell".

    Examples:
      >>> tie = Difference(0.2, 0.2, 0.0, -0.01, 0.01, 0.8, 0.005, seeds=3, queries=90)
      >>> without_effect(tie), without_effect(tie._replace(smallest=0.02))
      ('no difference seen', 'cannot tell')
    """
    visible = one.smallest <= RELEVANT * abs(one.base_mean)
    alike = visible and one.low <= 0 <= one.high
    return "no difference seen" if alike else "cannot tell"


def write_comparison(comparison: pl.DataFrame, folder: str | Path) -> Path:
    """Write comparison.csv.

    Args:
      comparison: the result of `compare_arms`.
      folder: an existing folder.

    Returns:
      The path of the file.
    """
    return write_whole(Path(folder) / "comparison.csv", comparison.write_csv())
