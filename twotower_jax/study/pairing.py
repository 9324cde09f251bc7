"""The runs of a study by arm and seed, with their metrics per query in one order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from twotower_jax.errors import InputError
from twotower_jax.study.naming import name_arms
from twotower_jax.study.runs import Run, Runs
from twotower_jax.study.statistics import Difference, compare_all, means_alone
from twotower_jax.study.tables import main_split

QUERIES = "queries.parquet"


@dataclass(frozen=True)
class Pairing:
    """The runs of a study, ready for the comparison of any two arms.

    Attributes:
      table: the result of `arms.study_table`.
      arms: the runs of each arm by seed, arms by name.
      queries: the metrics per query of each run that has them.
      measured: the comparisons made so far, by metric, arm and reference.
    """

    table: pl.DataFrame
    arms: dict[str, dict[int, Run]]
    queries: dict[Path, pl.DataFrame]
    measured: dict[tuple[str, str, str], Difference] = field(default_factory=dict)

    def has(self, run: Run, metric: str) -> bool:
        """Return whether a run has a metric per query."""
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
    """Return the difference of two arms in a metric without values per query."""
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
    """Return the mean of a metric over runs, NaN without a value."""
    rows = table.filter(
        (pl.col("split") == main_split(table))
        & (pl.col("metric") == metric)
        & pl.col("run").is_in([run.name for run in runs])
    )
    value = rows["value"].mean()
    return float(value) if isinstance(value, int | float) else math.nan
