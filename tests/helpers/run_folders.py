"""Finished runs with the files of `twotower train`, shared by tests of studies."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from twotower_jax.study.comparison import COLUMNS


def write_run(
    path: Path,
    config: dict[str, Any],
    seed: int,
    metrics: dict[str, Any],
    fingerprint: str = "aaaa",
) -> Path:
    """Write the files of a finished run."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump({**config, "seed": seed}))
    files = {
        "manifest": {"data_fingerprint": fingerprint, "device": "cpu"},
        "status": {"status": "done"},
        "result": {
            "metrics": {"test": metrics, "valid": {"recall@20": 0.5}},
            "seconds": 10.0 + seed,
            "examples_per_second": 1000.0,
            "seed": seed,
        },
    }
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


def two_arms(tmp_path: Path) -> Path:
    """Write two arms: three seeds with recall 0.1, 0.2, 0.6, and one seed with 0.4."""
    for seed, recall in enumerate((0.1, 0.2, 0.6)):
        config = {"loss": {"temperature": 0.1}}
        write_run(tmp_path / f"a{seed}", config, seed, {"recall@20": recall})
    write_run(tmp_path / "b0", {"loss": {"temperature": 0.2}}, 0, {"recall@20": 0.4})
    return tmp_path


def read_comparison(folder: Path) -> pl.DataFrame:
    """Return comparison.csv of a folder with the columns of a comparison."""
    table = pl.read_csv(folder / "comparison.csv", schema_overrides=COLUMNS)
    return table.select(list(COLUMNS))
