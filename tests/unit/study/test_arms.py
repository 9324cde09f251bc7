"""Arms: the tidy table of a study and its summary."""

import math

import polars as pl
import pytest
from helpers.run_folders import two_arms, write_run

from twotower_jax.study.runs import read_runs
from twotower_jax.study.tables import SCHEMA, study_table, summary, write_study


@pytest.fixture
def folder(tmp_path):
    return two_arms(tmp_path)


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
    assert first == (
        "temperature=0.1",
        0,
        "test",
        "recall@20",
        0.1,
        10,
        None,
        1000,
        "a0",
    )
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
