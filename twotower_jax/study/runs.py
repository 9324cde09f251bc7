"""The finished runs in one or more folders of sweeps.

The files are plain YAML and JSON. A folder that is not a finished run is skipped, and
the reason is kept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from twotower_jax.config.convert import with_defaults
from twotower_jax.data.parse_text import parse_json, parse_yaml
from twotower_jax.data.text_files import read_text
from twotower_jax.errors import InputError
from twotower_jax.run.folder import damage, runs_in
from twotower_jax.study.naming import identity, label
from twotower_jax.study.selection import FILE, Selection, read_selection
from twotower_jax.study.selection import FOLDER as SELECT


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
      path: its folder.
      name: its name in the study.
      seed: its seed.
      config, manifest, result: the contents of its files.
    """

    path: Path
    name: str
    seed: int
    config: dict[str, Any]
    manifest: dict[str, Any]
    result: dict[str, Any]


@dataclass(frozen=True)
class Runs:
    """The runs in some folders.

    Attributes:
      folders: the folders of sweeps, as given.
      finished: the finished runs, by folder name.
      skipped: (name, reason) of the other folders.
    """

    folders: tuple[Path, ...]
    finished: list[Run]
    skipped: list[tuple[str, str]]


class _SkippedError(Exception):
    """Why a folder is not a finished run."""


def read_runs(*folders: str | Path) -> Runs:
    """Read every finished run directly below the folders.

    The name of a run is the name of its folder; with several folders of sweeps, it is
    the path as it was given.

    Returns:
      The finished runs by folder name, and the skipped folders with reasons. Of
      several runs with the same arm and seed, the first counts; of the runs of a tuned
      arm, those of its choice.
    """
    places = list(dict.fromkeys(map(Path, folders)))
    for folder in places:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; give the folder of a sweep")
    selections = {folder: read_selection(folder) for folder in places}
    finished: dict[str, Run] = {}
    skipped: list[tuple[str, str]] = []
    for path in (path for folder in places for path in _subfolders(folder)):
        name = path.name if len(places) == 1 else str(path)
        try:
            run = _read_run(path, name)
            _check_chosen(run, selections[path.parent])
            same = finished.setdefault(_arm_and_seed(run), run)
            if same is not run:
                raise _SkippedError(f"the same arm and seed as {same.name}")
        except _SkippedError as error:
            skipped.append((name, str(error)))
    runs = Runs(tuple(places), list(finished.values()), skipped)
    _check_any(runs)
    check_same_data(runs.finished)
    _check_labels(runs.finished)
    return runs


def _subfolders(folder: Path) -> list[Path]:
    """Return the subfolders that may be runs of a study, by name.

    The study excludes runs of a selection on validation, and hidden folders.
    """
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name != SELECT and not path.name.startswith(".")
    ]


def _read_run(path: Path, name: str) -> Run:
    """Return the finished run in a folder, or raise _SkippedError."""
    if not (path / "config.yaml").is_file() or not (path / "status.json").is_file():
        raise _SkippedError("not a run: it lacks config.yaml or status.json")
    status = _read_mapping(path / "status.json")
    if status.get("status") != "done":
        reason = f": {status['reason']}" if status.get("reason") else ""
        raise _SkippedError(f"status is {status.get('status')}{reason}")
    _check_files(path, status.get("sha256"))
    config = _read_mapping(path / "config.yaml")
    manifest = _read_mapping(path / "manifest.json")
    result = _read_mapping(path / "result.json")
    metrics = result.get("metrics")
    splits = list(metrics.values()) if isinstance(metrics, dict) else []
    if not any(splits) or not all(_is_metrics(split) for split in splits):
        raise _SkippedError("result.json holds no table of metrics")
    if not isinstance(manifest.get("data_fingerprint"), str):
        raise _SkippedError("manifest.json holds no data_fingerprint")
    if not config:
        raise _SkippedError("config.yaml holds no keys")
    seed = result.get("seed", config.get("seed"))
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise _SkippedError("neither result.json nor config.yaml holds a seed")
    _check_queries(path / "queries.parquet")
    return Run(path, name, seed, with_defaults(config), manifest, result)


def _check_chosen(run: Run, selection: Selection | None) -> None:
    """Raise _SkippedError if the selection has another run of this arm and seed.

    An arm that is tuned again, on more values, leaves the runs of its earlier choice.
    """
    if selection is None or run.seed not in selection.seeds:
        return
    for one in selection.arms:
        whole = len(one.runs) == len(selection.seeds)
        mine = one.arm == run.config.get("arm")
        if mine and whole and run.path.name not in one.runs:
            raise _SkippedError(f"not among the runs of {one.arm} in {FILE}")


def _check_files(path: Path, kept: Any) -> None:
    """Raise _SkippedError if a file is not as the run wrote it."""
    if isinstance(kept, dict) and (found := damage(path, kept)) is not None:
        raise _SkippedError(found)


def _check_queries(path: Path) -> None:
    """Raise _SkippedError if the table of queries exists and cannot be read."""
    if not path.exists():
        return  # the run is compared by its means
    try:
        with path.open("rb") as file:  # polars reads brackets in a path as a pattern
            pl.read_parquet_schema(file)
    except (OSError, pl.exceptions.PolarsError):
        raise _SkippedError(f"{path.name} cannot be read") from None


def _read_mapping(path: Path) -> dict[str, Any]:
    """Return a YAML or JSON file that holds a mapping, or raise _SkippedError."""
    load = parse_yaml if path.suffix == ".yaml" else parse_json
    if path.exists() and not path.is_file():
        raise _SkippedError(f"{path.name} is not a file")  # a pipe would not end
    try:
        text = read_text(path)
        value = load(text)
    except FileNotFoundError:
        raise _SkippedError(f"it lacks {path.name}") from None
    except (OSError, ValueError, TypeError) as error:
        reason = type(error).__name__
        raise _SkippedError(f"{path.name} cannot be read ({reason})") from None
    if not isinstance(value, dict):
        raise _SkippedError(f"{path.name} does not hold a mapping")
    if path.suffix == ".yaml" and not text.endswith("\n"):
        raise _SkippedError(f"{path.name} is cut off")  # JSON shows that itself
    return value


def _is_metrics(split: Any) -> bool:
    """Return whether a value maps names to numbers or null."""
    return isinstance(split, dict) and all(
        value is None
        or (isinstance(value, int | float) and not isinstance(value, bool))
        for value in split.values()
    )


def _check_any(runs: Runs) -> None:
    """Raise InputError with folders and reasons unless a run is finished."""
    if runs.finished:
        return
    single = [folder for folder in runs.folders if (folder / "config.yaml").is_file()]
    if single:
        remedy = f"{single[0]} is one run; give the folder above it, {single[0].parent}"
        reasons = ""
    else:
        below = [place.parent for folder in runs.folders for place in runs_in(folder)]
        such = f", such as {below[0]}" if below else ""
        remedy = f"run a sweep into it, or give a folder that holds finished runs{such}"
        reasons = "; ".join(f"{name}: {reason}" for name, reason in runs.skipped[:5])
    raise InputError(
        f"no finished run in {', '.join(map(str, runs.folders))}"
        + (f" ({reasons})" if reasons else "")
        + f"; {remedy}"
    )


def check_same_data(finished: Sequence[Run]) -> None:
    """Raise InputError for runs on different data, with two of them as an example."""
    first = finished[0]
    for run in finished[1:]:
        ours, theirs = (r.manifest["data_fingerprint"] for r in (first, run))
        if ours != theirs:
            raise InputError(
                "runs on different data cannot be compared: the data fingerprint of "
                f"{first.path} is {ours}, that of {run.path} is {theirs}; set name= so "
                "that each data set has its own folder, and report each folder alone"
            )


def _check_labels(finished: Sequence[Run]) -> None:
    """Raise InputError if one configuration has two labels."""
    first: dict[str, Run] = {}
    for run in finished:
        same = first.setdefault(identity(run.config), run)
        ours, theirs = label(same.config), label(run.config)
        if ours != theirs:
            raise InputError(
                f"the arms {ours!r} ({same.path}) and {theirs!r} ({run.path}) are one "
                "configuration under two labels; give both the same arm= in their "
                "config.yaml, or report each folder alone"
            )


def _arm_and_seed(run: Run) -> str:
    """Return a text that equal arms with equal seeds on the same data share."""
    data = run.manifest["data_fingerprint"]
    return json.dumps([label(run.config), run.seed, data, identity(run.config)])
