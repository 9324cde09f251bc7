"""Arms: which runs count, and their table."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from twotower_jax.errors import InputError
from twotower_jax.study.arms import (
    SCHEMA,
    read_runs,
    study_table,
    summary,
    write_study,
)


def write_run(
    path: Path,
    config: dict[str, Any],
    seed: int,
    metrics: dict[str, Any],
    fingerprint: str = "aaaa",
) -> Path:
    """Write a finished run as `twotower train` leaves it."""
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


@pytest.fixture
def folder(tmp_path):
    """Two arms: three seeds with recall 0.1, 0.2, 0.6, and one seed with 0.4."""
    for seed, recall in enumerate((0.1, 0.2, 0.6)):
        config = {"loss": {"temperature": 0.1}}
        write_run(tmp_path / f"a{seed}", config, seed, {"recall@20": recall})
    write_run(tmp_path / "b0", {"loss": {"temperature": 0.2}}, 0, {"recall@20": 0.4})
    return tmp_path


def test_summary_gives_mean_and_sd_worked_out_by_hand(folder):
    table = study_table(read_runs(folder))
    rows = summary(table, ["recall@20", "seconds"]).rows()
    # (0.1 + 0.2 + 0.6) / 3 = 0.3; squares 0.04 + 0.01 + 0.09 = 0.14; / 2 = 0.07
    assert rows[0][:2] == ("temperature=0.1", "recall@20")
    assert rows[0][2:] == (pytest.approx(0.3), pytest.approx(math.sqrt(0.07)), 3)
    assert rows[1] == ("temperature=0.1", "seconds", 11.0, 1.0, 3)
    assert rows[2] == ("temperature=0.2", "recall@20", 0.4, None, 1)


def test_summary_of_a_metric_that_no_run_has_is_null(folder):
    rows = summary(study_table(read_runs(folder)), ["mrr"]).rows()
    assert [row[1:] for row in rows] == [("mrr", None, None, 0)] * 2


def test_summary_takes_the_split(folder):
    rows = summary(study_table(read_runs(folder)), ["recall@20"], split="valid")
    assert rows["mean"].to_list() == [0.5, 0.5]


def test_table_is_tidy_and_sorted(folder):
    table = study_table(read_runs(folder))
    assert dict(table.schema) == SCHEMA
    first = table.row(0)
    assert first == ("temperature=0.1", 0, "test", "recall@20", 0.1, 10, 1000, "a0")
    assert table["run"].unique(maintain_order=True).to_list() == [
        "a0",
        "a1",
        "a2",
        "b0",
    ]


def test_value_that_is_not_finite_is_null_and_does_not_count(tmp_path):
    write_run(tmp_path / "a", {}, 0, {"recall@20/head": math.nan})
    write_run(tmp_path / "b", {}, 1, {"recall@20/head": 0.25})
    table = study_table(read_runs(tmp_path))
    assert table.filter(pl.col("split") == "test")["value"].to_list() == [None, 0.25]
    assert summary(table, ["recall@20/head"]).row(0)[2:] == (0.25, None, 1)


def test_study_csv_reads_back_equal_and_leaves_no_draft(folder):
    table = study_table(read_runs(folder))
    path = write_study(table, folder)
    assert path == folder / "study.csv"
    assert pl.read_csv(path, schema=pl.Schema(SCHEMA)).equals(table)
    assert not list(folder.glob(".*"))


def test_folders_that_are_no_finished_run_are_named_with_reasons(folder):
    (folder / "notes").mkdir()
    for name in ("failed", "running", "torn", "odd", "plain", "nested", "loop"):
        write_run(folder / name, {}, 9, {"recall@20": 1.0})
    status = {"status": "failed", "reason": "loss is not finite"}
    (folder / "failed/status.json").write_text(json.dumps(status))
    (folder / "running/status.json").write_text('{"status": "running"}')
    (folder / "torn/result.json").write_text('{"metrics": {"te')
    (folder / "odd/result.json").write_text('{"metrics": {"test": {"recall@20": "x"}}}')
    (folder / "plain/manifest.json").unlink()
    (folder / "nested/config.yaml").write_text("a: !!python/object:os.system {}")
    (folder / "loop/config.yaml").write_text("a: &a {b: *a}")
    runs = read_runs(folder)
    assert [run.path.name for run in runs.finished] == ["a0", "a1", "a2", "b0"]
    assert dict(runs.skipped) == {
        "failed": "status is failed: loss is not finite",
        "loop": "config.yaml cannot be read (ValueError)",
        "nested": "config.yaml cannot be read (ConstructorError)",
        "notes": "not a run: it lacks config.yaml or status.json",
        "odd": "result.json holds no table of metrics",
        "plain": "it lacks manifest.json",
        "running": "status is running",
        "torn": "result.json cannot be read (JSONDecodeError)",
    }


def test_copy_of_a_run_does_not_count_as_another_seed(folder):
    shutil.copytree(folder / "a0", folder / "a0_copy")
    assert read_runs(folder).skipped == [("a0_copy", "the same arm and seed as a0")]


def test_runs_on_different_data_are_refused(folder):
    write_run(folder / "c0", {}, 0, {"recall@20": 1.0}, fingerprint="bbbb")
    with pytest.raises(InputError, match=r"a0 has .* aaaa, c0 has bbbb; set name="):
        read_runs(folder)


def test_folder_without_finished_run_says_what_was_found(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match=r"no finished run \(x: not a run.*sweep into"):
        read_runs(tmp_path)


def test_folder_of_one_run_points_to_the_folder_above(folder):
    with pytest.raises(InputError, match="it is one run; give the folder above it"):
        read_runs(folder / "a0")


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        read_runs(tmp_path / "nowhere")
