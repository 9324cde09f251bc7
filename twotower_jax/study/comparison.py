"""The arms of a study against its base arm, paired by seed and query."""

import math
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import polars as pl

from twotower_jax.errors import InputError, closest
from twotower_jax.study.arms import study_table, write_whole
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import Run, Runs
from twotower_jax.study.spread import LEVEL
from twotower_jax.study.statistics import Difference, compare, holm
from twotower_jax.study.tables import main_split

QUERIES = "queries.parquet"
RELEVANT = 0.05  # of the base arm's mean: what "no difference seen" would have seen
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
    table: pl.DataFrame, named: str | None = None, earlier: str | None = None
) -> str:
    """Return the base arm of a study: the named one, the earlier one, or the first.

    Args:
      table: what `arms.study_table` returns; its arms are sorted by name.
      named: the arm that the user asks for.
      earlier: the base arm that the study names, if any; it may have no run yet.
    Raises:
      InputError: the named arm is not one of the study.
    """
    arms: list[str] = table["arm"].unique(maintain_order=True).to_list()
    if named is None:
        return earlier if earlier is not None and earlier in arms else arms[0]
    if named not in arms:
        near = closest(named, arms)
        # The nearest first: a study can have many arms.
        ratio = {arm: SequenceMatcher(None, named, arm).ratio() for arm in arms}
        listed = sorted(arms, key=lambda arm: -ratio[arm])
        raise InputError(
            f"the base arm {named!r} has no finished run in this study"
            + (f" ({near})" if near else "")
            + f"; choose one of {', '.join(map(repr, listed))}: twotower report DIR "
            "--base ARM"
        )
    return named


def compare_arms(runs: Runs, metrics: Sequence[str], base: str) -> pl.DataFrame:
    """Compare every arm of a study to its base arm.

    Args:
      runs: what `arms.read_runs` returns.
      metrics: which metrics; one without values by query (coverage) gets its means
        and no interval.
      base: the name of the base arm.
    Returns:
      COLUMNS, one row per metric and arm but the base. Holm's adjustment is over the
      arms, for each metric. NaN is null.
    Raises:
      InputError: runs whose test queries differ.
    """
    table = study_table(runs)
    rows_of = _read_queries(runs.finished, metrics, main_split(table))
    arms: dict[str, dict[int, Run]] = {}
    names = name_arms([run.config for run in runs.finished])
    for name, run in sorted(zip(names, runs.finished, strict=True), key=_by_name):
        arms.setdefault(name, {})[run.seed] = run
    rows = []
    for metric in metrics:
        found = {
            arm: _difference(table, rows_of, metric, seeds, arms[base], len(arms) - 1)
            for arm, seeds in arms.items()
            if arm != base
        }
        adjusted = holm(np.array([one.p for one in found.values()]))
        for (arm, one), p in zip(found.items(), adjusted.tolist(), strict=True):
            key = (arm, base, metric, *one[:6], p, *one[6:])
            rows.append((*key, one.over, verdict(one, p)))
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _by_name(pair: tuple[str, Run]) -> tuple[str, int]:
    return pair[0], pair[1].seed


def _read_queries(
    finished: Sequence[Run], metrics: Sequence[str], split: str
) -> dict[Path, pl.DataFrame]:
    """Return the metrics by query of each run that has them, in one order.

    A query is known by the columns that are no metric (neither named in result.json
    nor fractional); the n-th row of one identity is the same query in every run.
    """
    if split != "test":
        return {}  # the file holds the queries of test
    frames: dict[Path, pl.DataFrame] = {}
    first: tuple[str, pl.DataFrame] | None = None
    for run in finished:
        frame = _read_frame(run.path / QUERIES)
        known = run.result["metrics"].get(split, {})
        identity = [
            name
            for name, kind in frame.schema.items()
            if name not in known and not kind.is_float()
        ]
        if not identity:
            continue
        frame = frame.sort(identity, maintain_order=True)
        ours = frame.select(identity)
        first = first or (run.name, ours)
        if not ours.equals(first[1]):
            raise InputError(
                f"{first[0]} and {run.name} are tested on different queries "
                f"({len(first[1])} and {len(ours)}): they are not compared; move the "
                "runs apart"
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


def _difference(
    table: pl.DataFrame,
    frames: dict[Path, pl.DataFrame],
    metric: str,
    arm: dict[int, Run],
    base: dict[int, Run],
    tests: int,
) -> Difference:
    """Compare two arms by the seeds that both have; means alone without queries."""
    shared = sorted(set(arm) & set(base))
    having = [
        seed
        for seed in shared
        if all(
            run.path in frames and metric in frames[run.path].columns
            for run in (arm[seed], base[seed])
        )
    ]
    if having:
        values = [_values(frames, metric, one, having) for one in (arm, base)]
        return compare(*values, tests=tests)
    ours, theirs = (_mean(table, metric, [a[s] for s in shared]) for a in (arm, base))
    nan = math.nan
    seeds = len(shared)
    return Difference(ours, theirs, ours - theirs, nan, nan, nan, nan, seeds, 0)


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


def verdict(one: Difference, p_holm: float) -> str:
    """Return better, worse, no difference seen, cannot tell, or "" without a test.

    Better and worse are at 5 % after Holm. "No difference seen" is said where the
    interval holds 0, by a study that would have seen a difference of RELEVANT of the
    base's mean beside the other arms; one seed never tells.
    """
    if math.isnan(one.low):
        return ""
    if one.seeds < 2:
        return "cannot tell"
    if p_holm < 1 - LEVEL:
        return "better" if one.difference > 0 else "worse"
    return without_effect(one)


def without_effect(one: Difference) -> str:
    """Return no difference seen, or cannot tell, of a difference that is no effect."""
    visible = one.smallest <= RELEVANT * abs(one.base_mean)
    alike = visible and one.low <= 0 <= one.high
    return "no difference seen" if alike else "cannot tell"


def write_comparison(comparison: pl.DataFrame, folder: str | Path) -> Path:
    """Write the table to comparison.csv in a folder and return its path."""
    return write_whole(Path(folder) / "comparison.csv", comparison.write_csv())


def read_comparison(folder: str | Path) -> pl.DataFrame:
    """Return comparison.csv of a folder; no rows where there is none to read."""
    try:
        return pl.read_csv(Path(folder) / "comparison.csv", schema=pl.Schema(COLUMNS))
    except (OSError, pl.exceptions.PolarsError):
        return pl.DataFrame(schema=COLUMNS)
