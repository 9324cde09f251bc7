"""The finished runs of a folder as arms over seeds, in one tidy table.

Everything here reads plain YAML and JSON; a folder that is not a finished run is
skipped, with the reason kept.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from twotower_jax.errors import InputError
from twotower_jax.study.naming import flatten, label, name_arms

COSTS = ("seconds", "examples_per_second")
SCHEMA = {
    "arm": pl.String,
    "seed": pl.Int64,
    "split": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "seconds": pl.Float64,
    "examples_per_second": pl.Float64,
    "run": pl.String,
}


@dataclass(frozen=True)
class Run:
    """One finished run: its folder and what it wrote."""

    path: Path
    seed: int
    config: dict[str, Any]
    manifest: dict[str, Any]
    result: dict[str, Any]


@dataclass(frozen=True)
class Runs:
    """The finished runs of a folder, and (folder, reason) for the skipped ones."""

    folder: Path
    finished: list[Run]
    skipped: list[tuple[str, str]]


class _SkippedError(Exception):
    """Why a folder is not a finished run."""


def read_runs(folder: str | Path) -> Runs:
    """Read every finished run directly below a folder.

    Args:
      folder: a sweep's folder; each run is one folder in it.
    Returns:
      The finished runs by folder name, and the skipped folders with reasons.
    Raises:
      InputError: no such folder, no finished run in it, or runs on different data.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of a sweep")
    finished: list[Run] = []
    skipped: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for path in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        try:
            run = _read_run(path)
            identity = _identity(run)
            if identity in seen:
                raise _SkippedError(f"the same arm and seed as {seen[identity]}")
        except _SkippedError as error:
            skipped.append((path.name, str(error)))
        else:
            seen[identity] = path.name
            finished.append(run)
    _check_runs(folder, finished, skipped)
    return Runs(folder, finished, skipped)


def _read_run(path: Path) -> Run:
    """Return the finished run in a folder, or raise _SkippedError."""
    if not (path / "config.yaml").is_file() or not (path / "status.json").is_file():
        raise _SkippedError("not a run: it lacks config.yaml or status.json")
    status = _read_mapping(path / "status.json")
    if status.get("status") != "done":
        reason = f": {status['reason']}" if status.get("reason") else ""
        raise _SkippedError(f"status is {status.get('status')}{reason}")
    config = _read_mapping(path / "config.yaml")
    manifest = _read_mapping(path / "manifest.json")
    result = _read_mapping(path / "result.json")
    metrics = result.get("metrics")
    splits = list(metrics.values()) if isinstance(metrics, dict) else []
    if not any(splits) or not all(_is_metrics(split) for split in splits):
        raise _SkippedError("result.json holds no table of metrics")
    if not isinstance(manifest.get("data_fingerprint"), str):
        raise _SkippedError("manifest.json holds no data_fingerprint")
    seed = result.get("seed", config.get("seed"))
    if not isinstance(seed, int):
        raise _SkippedError("neither result.json nor config.yaml holds a seed")
    return Run(path, seed, config, manifest, result)


def _read_mapping(path: Path) -> dict[str, Any]:
    """Return a YAML or JSON file that holds a mapping, or raise _SkippedError."""
    load = yaml.safe_load if path.suffix == ".yaml" else json.loads
    try:
        value = load(path.read_text(encoding="utf-8"))
        json.dumps(value, default=str)  # refuses a mapping that contains itself
    except FileNotFoundError:
        raise _SkippedError(f"it lacks {path.name}") from None
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = type(error).__name__
        raise _SkippedError(f"{path.name} cannot be read ({reason})") from None
    if not isinstance(value, dict):
        raise _SkippedError(f"{path.name} does not hold a mapping")
    return value


def _is_metrics(split: Any) -> bool:
    """Tell whether a value maps names to numbers or null."""
    return isinstance(split, dict) and all(
        value is None
        or (isinstance(value, int | float) and not isinstance(value, bool))
        for value in split.values()
    )


def _check_runs(
    folder: Path, finished: list[Run], skipped: list[tuple[str, str]]
) -> None:
    """Raise InputError for no finished run, or for runs on different data."""
    if not finished:
        if (folder / "config.yaml").is_file():
            remedy = f"it is one run; give the folder above it, {folder.parent}"
        else:
            remedy = "run a sweep into it, or give a folder that holds finished runs"
        found = "; ".join(f"{name}: {reason}" for name, reason in skipped[:5])
        raise InputError(
            f"{folder} holds no finished run"
            + (f" ({found})" if found else "")
            + f"; {remedy}"
        )
    first = finished[0]
    for run in finished[1:]:
        ours, theirs = (r.manifest["data_fingerprint"] for r in (first, run))
        if ours != theirs:
            raise InputError(
                f"{folder} mixes data sets: {first.path.name} has the data "
                f"fingerprint {ours}, {run.path.name} has {theirs}; set name= so that "
                "each data set has its own folder, and move the runs apart"
            )


def _identity(run: Run) -> str:
    """Return a text that equal arms with equal seeds share."""
    return json.dumps(
        [label(run.config), run.seed, sorted(flatten(run.config).items())]
    )


def study_table(runs: Runs) -> pl.DataFrame:
    """Return one row per arm, seed, split and metric.

    Returns:
      Columns arm, seed, split, metric, value, seconds, examples_per_second and run
      (its folder), sorted by arm and seed; a value that is not finite is null.
    """
    names = name_arms([run.config for run in runs.finished])
    rows = []
    for name, run in sorted(
        zip(names, runs.finished, strict=True),
        key=lambda pair: (pair[0], pair[1].seed, pair[1].path.name),
    ):
        costs = [_number(run.result.get(cost)) for cost in COSTS]
        for split, metrics in run.result["metrics"].items():
            for metric, value in metrics.items():
                row = (name, run.seed, split, metric, _number(value))
                rows.append((*row, *costs, run.path.name))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _number(value: Any) -> float | None:
    """Return a finite number as float, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def summary(
    table: pl.DataFrame, metrics: Sequence[str], split: str = "test"
) -> pl.DataFrame:
    """Return mean and standard deviation over seeds of each arm and metric.

    Args:
      table: what `study_table` returns.
      metrics: names of metrics; `seconds` and `examples_per_second` are known too.
      split: the split of the metrics.
    Returns:
      Columns arm, metric, mean, sd (ddof 1; null for one seed) and seeds (how many
      of them have the metric), arms in the order of the table, metrics as given.
    """
    keys = ["arm", "metric"]
    rows = table.filter(pl.col("split") == split)
    once = table.unique("run", maintain_order=True).select("arm", *COSTS)
    costs = once.unpivot(on=list(COSTS), index="arm", variable_name="metric")
    found = pl.concat([rows.select(*keys, "value"), costs.select(*keys, "value")])
    numbers = found.group_by(keys, maintain_order=True).agg(
        mean=pl.col("value").mean(),
        sd=pl.col("value").std(ddof=1),
        seeds=pl.col("value").count().cast(pl.Int64),
    )
    arms = table.select("arm").unique(maintain_order=True)
    wanted = arms.join(pl.DataFrame({"metric": list(metrics)}), how="cross")
    joined = wanted.join(numbers, on=keys, how="left", maintain_order="left")
    return joined.with_columns(pl.col("seeds").fill_null(0))


def write_study(table: pl.DataFrame, folder: str | Path) -> Path:
    """Write the table to study.csv in a folder and return its path."""
    return write_whole(Path(folder) / "study.csv", table.write_csv())


def write_whole(path: Path, text: str) -> Path:
    """Write a text file so that readers see the old or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(text.encode("utf-8", "replace"))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path
