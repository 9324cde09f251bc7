"""Folders and files whose names look like patterns are read by their names."""

import shutil

import polars as pl
import pytest
from helpers import tiny

from twotower_jax.export.load import load_model

NAME = "a[1]*?"


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A study, copied into a folder like a pattern of the folder of another."""
    output = tmp_path_factory.mktemp("studies")
    for name, arms in (("plain", "uniform,in_batch"), ("a1bc", "uniform,mixed")):
        words = (*tiny.SMALL, "training.steps=10", f"arms={arms}", "seed=0,1")
        assert tiny.command("train", "-m", *words, f"output={output / name}") == 0
    shutil.copytree(output / "plain", output / NAME)
    return output


@pytest.mark.slow
def test_a_report_reads_the_queries_of_its_own_runs(studies):
    tables = []
    for name in (NAME, "plain"):
        out = studies / f"{name}.report"
        words = (str(studies / name / "simulator"), "--out", str(out))
        assert tiny.command("report", *words) == 0
        tables.append(pl.read_csv(out / "comparison.csv", glob=False))
    assert tables[0].equals(tables[1]) and tables[0].height


@pytest.mark.slow
def test_a_run_and_its_export_are_read_where_they_lie(studies, tmp_path):
    run = next((studies / NAME).rglob("result.json")).parent
    assert tiny.command("evaluate", str(run)) == 0
    assert tiny.command("export", str(run), "--out", str(tmp_path / NAME)) == 0
    assert len(load_model(tmp_path / NAME).item_ids)


def test_a_training_below_such_a_folder_is_refused(tmp_path, capsys):
    """Orbax looks for the parts of a checkpoint by patterns."""
    output = tmp_path / NAME
    assert tiny.command("train", *tiny.SMALL, f"output={output}") == 2
    assert "no checkpoint can be saved; set output=" in capsys.readouterr().err
    assert not [path for path in output.rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_log_is_prepared_and_trained_on(kind, tmp_path):
    log = pl.DataFrame({"user": [i % 31 for i in range(600)]})
    log = log.with_columns(item=pl.Series(i * 7 % 29 for i in range(600)))
    path, out = tmp_path / f"{NAME}.{kind}", tmp_path / NAME
    write = {"csv": log.write_csv, "parquet": log.write_parquet}
    write.get(kind, log.write_ndjson)(path)
    words = ("data=table", f"data.path={path}")
    assert tiny.command("data", "check", *words) == 0
    assert tiny.command("data", "prepare", *words, "--out", str(out)) == 0
    words = ("data=prepared", f"data.path={out}")
    assert tiny.command("data", "check", *words) == 0


def test_letters_beyond_ascii_need_no_quotes(tmp_path, capsys):
    path = tmp_path / "üb" / "größe.csv"
    path.parent.mkdir()
    lines = (f"{i % 31},{i * 7 % 29}" for i in range(600))
    path.write_text(
        "\n".join(("user,item,größe", *(f"{one},2.5" for one in lines))),
        encoding="utf-8",
    )
    assert tiny.command("data", "check", str(path)) == 0, capsys.readouterr().err
