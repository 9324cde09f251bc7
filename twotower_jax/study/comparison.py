"""Comparison of the arms of a study to reference arms, paired by seed and query."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from twotower_jax.data.text_files import write_text
from twotower_jax.errors import InputError
from twotower_jax.evaluation.metrics import larger_is_better
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import Run, Runs
from twotower_jax.study.statistics import Difference, compare_all, means_alone
from twotower_jax.study.tables import main_split
from twotower_jax.study.verdicts import MARGIN, Judgement, Rules, judge

QUERIES = "queries.parquet"


@dataclass(frozen=True)
class Pairing:
    """The runs of a study, ready for the comparison of any two arms."""

    table: pl.DataFrame  # the result of `arms.study_table`
    arms: dict[str, dict[int, Run]]  # the runs of each arm by seed, arms by name
    queries: dict[Path, pl.DataFrame]  # the metrics per query of each run that has them
    # the comparisons made so far, by metric, arm and reference
    measured: dict[tuple[str, str, str], Difference] = field(default_factory=dict)

    def has(self, run: Run, metric: str) -> bool:
        """Whether a run has a metric per query."""
        return run.path in self.queries and metric in self.queries[run.path].columns


def pair_arms(runs: Runs, table: pl.DataFrame, metrics: Sequence[str]) -> Pairing:
    """Read the metrics per query of the runs of a study."""
    names = name_arms([run.config for run in runs.finished])
    arms: dict[str, dict[int, Run]] = {}
    for name, run in sorted(zip(names, runs.finished, strict=True), key=_name_and_seed):
        arms.setdefault(name, {})[run.seed] = run
    queries = _read_queries(runs.finished, metrics, main_split(table))
    return Pairing(table, arms, queries)


def _name_and_seed(pair: tuple[str, Run]) -> tuple[str, int]:
    return pair[0], pair[1].seed


def _read_queries(
    finished: Sequence[Run], metrics: Sequence[str], split: str
) -> dict[Path, pl.DataFrame]:
    """The metrics per query of each run that has them, in one order.

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
    """A parquet file; a table without columns where it cannot be read."""
    try:
        return pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError):
        return pl.DataFrame()


Key = tuple[str, str, str]


def measure(
    pairing: Pairing, metrics: Sequence[str], references: Mapping[str, str]
) -> dict[Key, Difference]:
    """Comparisons of arms with reference arms, each of which is made once."""
    keys = [(name, *pair) for name in metrics for pair in references.items()]
    missing = [key for key in keys if key not in pairing.measured]
    sides = {key: _sides(pairing, *key) for key in missing}
    values = {key: pair for key, pair in sides.items() if pair is not None}
    made = compare_all(list(values.values()))
    pairing.measured.update(zip(values, made, strict=True))
    for key in sides.keys() - values.keys():
        pairing.measured[key] = _means(pairing, *key)
    return {key: pairing.measured[key] for key in keys}


def _sides(
    pairing: Pairing, metric: str, arm_name: str, reference: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return both arms [seeds, queries] by their common seeds; None without queries."""
    arm, base = pairing.arms[arm_name], pairing.arms[reference]
    seeds = [
        seed
        for seed in sorted(set(arm) & set(base))
        if all(pairing.has(run, metric) for run in (arm[seed], base[seed]))
    ]
    if not seeds:
        return None
    ours, theirs = (_values(pairing.queries, metric, one, seeds) for one in (arm, base))
    return ours, theirs


def _means(pairing: Pairing, metric: str, arm_name: str, reference: str) -> Difference:
    """The difference of two arms in a metric without values per query."""
    sides = pairing.arms[arm_name], pairing.arms[reference]
    shared = sorted(set(sides[0]) & set(sides[1]))
    means = [
        _mean(pairing.table, metric, [one[seed] for seed in shared]) for one in sides
    ]
    return means_alone(*means, seeds=len(shared))


def _values(
    frames: dict[Path, pl.DataFrame], metric: str, arm: dict[int, Run], seeds: list[int]
) -> np.ndarray:
    """Return [seeds, queries] of a metric; NaN where a query has no value."""
    return np.stack([frames[arm[seed].path][metric].to_numpy() for seed in seeds])


def _mean(table: pl.DataFrame, metric: str, runs: Sequence[Run]) -> float:
    """The mean of a metric over runs, NaN without a value."""
    rows = table.filter(
        (pl.col("split") == main_split(table))
        & (pl.col("metric") == metric)
        & pl.col("run").is_in([run.name for run in runs])
    )
    value = rows["value"].mean()
    return float(value) if isinstance(value, int | float) else math.nan


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
    "low_90": pl.Float64,
    "high_90": pl.Float64,
    "low_family": pl.Float64,
    "high_family": pl.Float64,
    "low_verdict": pl.Float64,
    "high_verdict": pl.Float64,
    "verdict": pl.String,
}
# Columns of the comparison to the control in comparison.csv, by those of COLUMNS.
COMPARED = ("difference", "low", "high", "p", "p_holm", "low_90", "high_90")
COMPARED += ("low_family", "high_family", "low_verdict", "high_verdict", "verdict")
CONTROLLED = {
    "base": "control",
    "base_mean": "control_mean",
    **{name: f"control_{name}" for name in COMPARED},
}


def compare_arms(
    pairing: Pairing,
    metrics: Sequence[str],
    references: Mapping[str, str],
    margin: float = MARGIN,
    withheld: Callable[[str, str], str] = lambda arm, reference: "",
) -> pl.DataFrame:
    """Comparison of arms, each to a reference arm."""
    measured, rows = measure(pairing, metrics, references), []
    for metric in metrics:
        differences = [
            measured[metric, *pair]._replace(tests=len(references))
            for pair in references.items()
        ]
        rules = [Rules(margin, withheld(*pair)) for pair in references.items()]
        judged = judge(differences, rules, larger_is_better(metric))
        for pair, one, judgement in zip(
            references.items(), differences, judged, strict=True
        ):
            rows.append((*pair, metric, *_cells(one, judgement)))
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _cells(one: Difference, judged: Judgement) -> tuple[float | int | str, ...]:
    """The values of COLUMNS after the metric."""
    return (
        *(one.mean, one.base_mean, one.difference, one.interval.low, one.interval.high),
        *(judged.p, judged.p_holm, one.smallest, one.seeds, one.queries, one.over),
        *(*one.equivalence_interval, *judged.joint, *judged.ends, judged.word),
    )


def write_comparison(
    comparison: pl.DataFrame, controlled: pl.DataFrame, folder: str | Path
) -> Path:
    """Write comparison.csv: each arm against the base, and against its control."""
    keys = ["arm", "metric"]
    beside = controlled.select(*keys, *CONTROLLED).rename(CONTROLLED)
    table = comparison.join(beside, on=keys, how="left", maintain_order="left")
    return write_text(Path(folder) / "comparison.csv", table.write_csv())
