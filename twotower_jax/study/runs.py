"""The finished runs in one or more folders of sweeps, by arm and seed.

The files are plain YAML and JSON. A folder that is not a finished run is skipped, and
the reason is kept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from twotower_jax.config.convert import with_defaults
from twotower_jax.data.parse_text import parse_json, parse_yaml
from twotower_jax.data.text_files import read_text
from twotower_jax.errors import InputError
from twotower_jax.run.folder import damage, runs_in
from twotower_jax.study.naming import identity, label, name_arms
from twotower_jax.study.selection import FILE, Selection, read_selection
from twotower_jax.study.selection import FOLDER as SELECT


@dataclass(frozen=True)
class Run:
    """One finished run."""

    path: Path  # its folder
    name: str  # that of its folder; of several folders of sweeps, the path as given
    seed: int
    config: dict[str, Any]
    manifest: dict[str, Any]
    result: dict[str, Any]

    def key(self, section: str, name: str, default: Any = None) -> Any:
        """The value of a key; the default where a stored section is no mapping."""
        values = self.config.get(section)
        return values.get(name, default) if isinstance(values, dict) else default


Arm = dict[int, Run]  # the runs of an arm by seed


@dataclass(frozen=True)
class Runs:
    """The runs in some folders."""

    folders: tuple[Path, ...]  # of sweeps, as given
    finished: list[Run]  # by folder name
    skipped: list[tuple[str, str]]  # name and reason of the other folders

    @cached_property
    def arms(self) -> dict[str, Arm]:
        """The runs of each arm by seed, arms by name."""
        names = name_arms([run.config for run in self.finished])
        arms: dict[str, Arm] = {}
        named = zip(names, self.finished, strict=True)
        for name, run in sorted(named, key=lambda pair: (pair[0], pair[1].seed)):
            arms.setdefault(name, {})[run.seed] = run
        return arms

    @cached_property
    def configs(self) -> dict[str, dict[str, Any]]:
        """The configuration of each arm, with the first of its seeds."""
        return {
            arm: next(iter(ones.values())).config for arm, ones in self.arms.items()
        }


class _SkippedError(Exception):
    """Why a folder is not a finished run."""


def read_runs(*folders: str | Path) -> Runs:
    """Read every finished run directly below the folders.

    Of several runs with the same arm and seed, the first counts; of the runs of a tuned
    arm, those of its choice.
    """
    parents = list(dict.fromkeys(map(Path, folders)))
    for folder in parents:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; give the folder of a sweep")
    selections = {folder: read_selection(folder) for folder in parents}
    finished: dict[str, Run] = {}
    skipped: list[tuple[str, str]] = []
    for path in (path for folder in parents for path in _subfolders(folder)):
        name = path.name if len(parents) == 1 else str(path)
        try:
            run = _read_run(path, name)
            _check_chosen(run, selections[path.parent])
            data = run.manifest["data_fingerprint"]
            arm = [label(run.config), run.seed, data, identity(run.config)]
            same = finished.setdefault(json.dumps(arm), run)
            if same is not run:
                raise _SkippedError(f"the same arm and seed as {same.name}")
        except _SkippedError as error:
            skipped.append((name, str(error)))
    runs = Runs(tuple(parents), list(finished.values()), skipped)
    _check_any(runs)
    _check_alike(runs.finished)
    return runs


def _subfolders(folder: Path) -> list[Path]:
    """The visible subfolders by name, without that of the runs on validation."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name != SELECT and not path.name.startswith(".")
    ]


def _read_run(path: Path, name: str) -> Run:
    """The finished run in a folder, or _SkippedError."""
    if not (path / "config.yaml").is_file() or not (path / "status.json").is_file():
        raise _SkippedError("not a run: it lacks config.yaml or status.json")
    status = _read_mapping(path / "status.json")
    if status.get("status") != "done":
        reason = f": {status['reason']}" if status.get("reason") else ""
        raise _SkippedError(f"status is {status.get('status')}{reason}")
    sums = status.get("sha256")
    if isinstance(sums, dict) and (changed := damage(path, sums)) is not None:
        raise _SkippedError(changed)
    config = _read_mapping(path / "config.yaml")
    manifest = _read_mapping(path / "manifest.json")
    result = _read_mapping(path / "result.json")
    metrics = result.get("metrics")
    splits = list(metrics.values()) if isinstance(metrics, dict) else []
    if not any(splits) or not all(map(_is_metrics, splits)):
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
    """Skip a run of an earlier choice of an arm that was tuned again."""
    if selection is None or run.seed not in selection.seeds:
        return
    for choice in selection.arms:
        whole = len(choice.runs) == len(selection.seeds)
        mine = choice.arm == run.config.get("arm")
        if mine and whole and run.path.name not in choice.runs:
            raise _SkippedError(f"not among the runs of {choice.arm} in {FILE}")


def _check_queries(path: Path) -> None:
    """Skip a run whose table of queries cannot be read; without one it has means."""
    if not path.exists():
        return
    try:
        with path.open("rb") as file:  # polars reads brackets in a path as a pattern
            pl.read_parquet_schema(file)
    except (OSError, pl.exceptions.PolarsError):
        raise _SkippedError(f"{path.name} cannot be read") from None


def _read_mapping(path: Path) -> dict[str, Any]:
    """A YAML or JSON file that holds a mapping, or _SkippedError."""
    parse = parse_yaml if path.suffix == ".yaml" else parse_json
    if path.exists() and not path.is_file():
        raise _SkippedError(f"{path.name} is not a file")  # a pipe would not end
    try:
        text = read_text(path)
        value = parse(text)
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
    """Whether a value maps names to numbers or null."""
    return isinstance(split, dict) and all(
        value is None
        or (isinstance(value, int | float) and not isinstance(value, bool))
        for value in split.values()
    )


def _check_any(runs: Runs) -> None:
    """Refuse folders without a finished run, with the reasons."""
    if runs.finished:
        return
    single = [folder for folder in runs.folders if (folder / "config.yaml").is_file()]
    reasons = "; ".join(f"{name}: {reason}" for name, reason in runs.skipped[:5])
    if single:
        remedy = f"{single[0]} is one run; give the folder above it, {single[0].parent}"
        reasons = ""
    else:
        below = [path.parent for folder in runs.folders for path in runs_in(folder)]
        such = f", such as {below[0]}" if below else ""
        remedy = f"run a sweep into it, or give a folder that holds finished runs{such}"
    raise InputError(
        f"no finished run in {', '.join(map(str, runs.folders))}"
        + (f" ({reasons})" if reasons else "")
        + f"; {remedy}"
    )


def _check_alike(finished: Sequence[Run]) -> None:
    """Refuse runs on different data, and one configuration under two labels."""
    first, by_identity = finished[0], dict[str, Run]()
    for run in finished:
        ours, theirs = (each.manifest["data_fingerprint"] for each in (first, run))
        if ours != theirs:
            raise InputError(
                "runs on different data cannot be compared: the data fingerprint of "
                f"{first.path} is {ours}, that of {run.path} is {theirs}; set name= so "
                "that each data set has its own folder, and report each folder alone"
            )
    for run in finished:
        same = by_identity.setdefault(identity(run.config), run)
        ours, theirs = label(same.config), label(run.config)
        if ours != theirs:
            raise InputError(
                f"the arms {ours!r} ({same.path}) and {theirs!r} ({run.path}) are one "
                "configuration under two labels; give both the same arm= in their "
                "config.yaml, or report each folder alone"
            )
