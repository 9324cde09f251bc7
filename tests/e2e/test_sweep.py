"""A sweep: failed runs are reported, the others go on, and repeating it is free."""

import contextlib
import io
import json

import polars as pl
import pytest
from helpers import tiny

from twotower_jax.training.step import run_steps

ARMS = ("in_batch", "uniform")


def sweep(output):
    return tiny.command(
        "train",
        "-m",
        *tiny.SMALL,
        f"output={output}",
        "name=sweep",
        "training.steps=10",
        "negatives.easy.num=64",
        f"arms={','.join(ARMS)}",
        "seed=0,1",
        # The tiny world has fewer positives than a million.
        "training.batch_size=64,1000000",
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Run the sweep once; return its folder, status and number of programs."""
    output = tmp_path_factory.mktemp("outputs")
    out, err = io.StringIO(), io.StringIO()
    run_steps.clear_cache()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = sweep(output)
    (output / "stdout.txt").write_text(out.getvalue())
    (output / "stderr.txt").write_text(err.getvalue())
    return output / "sweep", status, run_steps._cache_size()


def runs(folder):
    return sorted(path.parent for path in folder.glob("*/result.json"))


def test_a_failing_value_does_not_stop_the_others(swept):
    folder, status, _ = swept
    assert status == 2
    found = [tiny.read_json(path / "result.json") for path in runs(folder)]
    assert sorted(one["seed"] for one in found) == [0, 0, 1, 1]
    for path in runs(folder):
        assert tiny.read_json(path / "status.json")["status"] == "done"


def test_failed_jobs_are_named(swept):
    folder, _, _ = swept
    out, err = ((folder.parent / f"std{one}.txt").read_text() for one in ("out", "err"))
    assert err.count("training.batch_size=1000000 is more than the") == 1
    assert err.count("error: ") == 1
    assert "4 runs failed alike: training.batch_size=1000000 is more" in out
    assert "Traceback" not in err
    # The line of a finished run has its swept values ...
    for arm in ("in-batch", "uniform"):
        for seed in (0, 1):
            line = f"{arm} batch_size=64, seed {seed}: test recall@20 0."
            assert out.count(line) == 1
    # ... and the table at the end compares their arms.
    assert out.splitlines()[-1].endswith("report.html")


def test_every_arm_is_compiled_once_whatever_its_seeds(swept):
    _, _, programs = swept
    assert programs == len(ARMS)


def test_the_folder_of_a_sweep(swept):
    folder, _, _ = swept
    table = pl.read_csv(folder / "study.csv")
    assert set(zip(table["arm"], table["seed"], strict=True)) == {
        (arm, seed) for arm in ("in-batch", "uniform") for seed in (0, 1)
    }
    rows = table.filter((pl.col("split") == "test") & (pl.col("metric") == "recall@20"))
    assert len(rows) == 4
    for row in rows.iter_rows(named=True):
        result = tiny.read_json(folder / row["run"] / "result.json")
        config = (folder / row["run"] / "config.yaml").read_text()
        assert result["seed"] == row["seed"] and f"arm: {row['arm']}" in config
        assert result["metrics"]["test"]["recall@20"] == row["value"]
    report = (folder / "report.html").read_text()
    assert "in-batch" in report and "uniform" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "https://" not in report
    # Nothing but runs, the table, and the report with its figures.
    left = {path.name for path in folder.iterdir() if path.is_dir()}
    assert {path.name for path in runs(folder)} <= left


def test_the_same_sweep_again_returns_the_finished_runs(swept, capsys):
    folder, _, _ = swept
    watched = [
        path
        for run in runs(folder)
        for path in sorted(run.rglob("*"))
        if path.is_file()
    ]
    times = [path.stat().st_mtime_ns for path in watched]
    programs = run_steps._cache_size()
    assert sweep(folder.parent) == 2
    assert run_steps._cache_size() == programs
    assert [path.stat().st_mtime_ns for path in watched] == times
    assert capsys.readouterr().out.count("finished before") == 4
    assert len(runs(folder)) == 4


def test_report_makes_the_same_files_again(swept, capsys):
    folder, _, _ = swept
    table = (folder / "study.csv").read_bytes()
    (folder / "study.csv").unlink()
    (folder / "report.html").unlink()
    assert tiny.command("report", str(folder)) == 0
    assert (folder / "study.csv").read_bytes() == table
    assert (folder / "report.html").stat().st_size > 1000
    assert "in-batch" in capsys.readouterr().out


def test_a_sweep_ends_with_its_arms_against_the_base(swept, capsys):
    folder, _, _ = swept
    (folder / "comparison.csv").unlink(missing_ok=True)
    assert tiny.command("report", str(folder)) == 0
    table = pl.read_csv(folder / "comparison.csv")
    assert set(table["arm"]) == {"uniform"} and set(table["base"]) == {"in-batch"}
    metrics = ["ndcg@20", *(f"recall@20/{p}" for p in ("head", "mid", "tail"))]
    assert table["metric"][0] == "recall@20" and {*metrics} <= {*table["metric"]}
    row = table.row(0, named=True)
    means = {
        arm: [
            tiny.read_json(path / "result.json")["metrics"]["test"]["recall@20"]
            for path in runs(folder)
            if f"arm: {arm}" in (path / "config.yaml").read_text()
        ]
        for arm in ("in-batch", "uniform")
    }
    # The mean of the queries that are compared is the metric of the runs.
    assert row["mean"] == pytest.approx(sum(means["uniform"]) / 2)
    assert row["base_mean"] == pytest.approx(sum(means["in-batch"]) / 2)
    assert row["low"] <= row["difference"] <= row["high"]
    assert (row["seeds"], row["interval_over"]) == (2, "seeds and queries")
    shown = capsys.readouterr().out
    assert "difference to in-batch with 95 % interval" in shown
    # An interval of two seeds says nothing, and is not shown.
    assert f"{row['low_verdict']:+.4f} to {row['high_verdict']:+.4f}" not in shown


def test_report_takes_another_base_and_keeps_it(swept, capsys):
    folder, _, _ = swept
    assert tiny.command("report", str(folder), "--base", "uniform") == 0
    assert "difference to uniform" in capsys.readouterr().out
    assert tiny.command("report", str(folder)) == 0
    assert "difference to uniform" in capsys.readouterr().out
    assert tiny.command("report", str(folder), "--base=in-batch") == 0
    assert "difference to in-batch" in capsys.readouterr().out
    before = (folder / "comparison.csv").read_bytes()
    assert tiny.command("report", str(folder), "--base", "inbatch") == 2
    error = capsys.readouterr().err
    assert "'inbatch' has no finished run" in error and "Traceback" not in error
    assert "choose one of 'in-batch', 'uniform'" in error
    assert (folder / "comparison.csv").read_bytes() == before


def test_a_sweep_equals_separate_runs(swept, tmp_path):
    folder, _, _ = swept
    words = (*tiny.SMALL, f"output={tmp_path}", "name=sweep", "training.steps=10")
    words = (*words, "negatives.easy.num=64", "arms=uniform", "seed=1")
    assert tiny.command("train", *words, "training.batch_size=64") == 0
    (alone,) = runs(tmp_path / "sweep")
    together = folder / alone.name
    first, second = (
        tiny.read_json(path / "result.json")["metrics"] for path in (alone, together)
    )
    assert json.dumps(first) == json.dumps(second)
