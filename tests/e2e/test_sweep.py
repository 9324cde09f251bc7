"""A sweep: failed runs are reported, the others go on, and repeating it is free."""

import json

import polars as pl
import pytest
from helpers import tiny
from helpers.studies import Page

from twotower_jax.data.split import split
from twotower_jax.run import execute as run
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
    before = run_steps._cache_size()
    status = sweep(output)
    return output / "sweep", status, run_steps._cache_size() - before


def runs(folder):
    return sorted(path.parent for path in folder.glob("*/result.json"))


def test_a_failing_value_does_not_stop_the_others(swept):
    folder, status, _ = swept
    assert status == 2
    found = [tiny.read_json(path / "result.json") for path in runs(folder)]
    assert sorted(one["seed"] for one in found) == [0, 0, 1, 1]
    for path in runs(folder):
        assert tiny.read_json(path / "status.json")["status"] == "done"


def test_failed_jobs_are_named(tmp_path, capsys):
    assert sweep(tmp_path) == 2
    shown = capsys.readouterr()
    assert shown.err.count("training.batch_size=1000000 is more than the") == 1
    assert shown.err.count("error: ") == 1
    assert "4 runs failed alike: training.batch_size=1000000 is more" in shown.out
    assert "Traceback" not in shown.err
    # The line of a finished run has its swept values ...
    for arm in ("in-batch", "uniform"):
        for seed in (0, 1):
            line = f"{arm} batch_size=64, seed {seed}: test recall@20 0."
            assert shown.out.count(line) == 1
    # ... and the table at the end compares their arms.
    assert shown.out.splitlines()[-1].endswith("report.html")


def test_runs_without_a_label_are_named_by_the_swept_values(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "name=cut", "towers=popularity")
    swept = ("evaluation.k=[20],[20,50]", "towers.init_scale=1,2", "seed=3")
    assert tiny.command("train", "-m", *words, *swept) == 0
    shown = capsys.readouterr().out
    table = pl.read_csv(tmp_path / "cut/study.csv")
    assert table["arm"].n_unique() == 4
    for cutoffs in ("[20]", "[20,50]"):
        for scale in (1, 2):
            name = f"evaluation.k={cutoffs} init_scale={scale}"
            assert shown.count(f"{name}, seed 3: test recall@20 0.") == 1
    assert "towers" not in shown


@pytest.mark.parametrize(
    ("swept", "part"),
    [
        (
            ["data.test_share=0.1,0.2"],
            "data.test_share=0.1,0.2: arms on different data cannot be compared",
        ),
        (["loss.temperature=0.1,0.10"], "loss.temperature=0.1 is in the sweep twice"),
        (["arms=uniform,uniform"], "arms=uniform is in the sweep twice"),
        (["seed=1,1"], "seed=1 is in the sweep twice"),
        (
            ["seed=0,1", "hydra.callbacks.study.metric=recal@20"],
            "metric='recal@20' is not among the metrics of these runs (did you mean "
            "recall@20?)",
        ),
        (
            ["arms=uniform,in_batch", "hydra.callbacks.study.base=nosuch"],
            "base='nosuch' is not an arm of this study; it has 'in-batch', 'uniform'",
        ),
        (
            ["arms=uniform,in_batch", "negatives=in_batch"],
            "negatives=in_batch and arms=uniform are given, and this arm is "
            "negatives=uniform; leave one of them out",
        ),
    ],
)
def test_a_sweep_without_a_report_ends_before_any_run(swept, part, tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "name=none", "training.steps=10")
    assert tiny.command("train", "-m", *words, *swept) == 2
    shown = capsys.readouterr()
    assert shown.err.count("error: ") == 1 and part in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("launcher", ["basic", "fused"])
def test_a_sweep_whose_split_is_empty_fails_once(
    launcher, tmp_path, capsys, monkeypatch
):
    tried = []

    def counted(*arguments):
        tried.append(1)
        return split(*arguments)

    monkeypatch.setattr("twotower_jax.run.inputs.split", counted)
    words = (*tiny.SMALL, f"output={tmp_path}", f"hydra/launcher={launcher}")
    words = (*words, "data.split=ratio", "data.test_share=1e-9")
    swept = ("arms=uniform,in_batch", "seed=0,1", "baselines=true")
    assert tiny.command("train", "-m", *words, *swept) == 2
    shown = capsys.readouterr()
    empty = "data.split=ratio leaves no positive to test on"
    assert shown.err.count("error: ") == 1
    assert f"error: {empty}; raise data.test_share=1e-09" in shown.err
    assert f"4 runs failed alike: {empty}\n" in shown.out
    assert len(tried) == 1 and not list(tmp_path.rglob("config.yaml"))


def test_a_sweep_into_a_folder_of_other_runs(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "name=first", "towers=popularity")
    assert tiny.command("train", *words, "arm=one") == 0
    for swept, part in (
        (["data.test_share=0.2", "seed=0,1"], "has runs with 0.1, and arms on diff"),
        (["arm=two", "seed=0,1"], "has runs of this configuration as arm='one'"),
    ):
        assert tiny.command("train", "-m", *words, *swept) == 2
        error = capsys.readouterr().err
        assert part in error and str(tmp_path / "first") in error
        assert "Traceback" not in error
    assert len(runs(tmp_path / "first")) == 1


def test_a_report_that_cannot_be_made_is_not_kept_as_the_question(tmp_path, capsys):
    """A metric that the runs turn out to lack is reported at the end of the sweep."""
    words = (*tiny.SMALL, f"output={tmp_path}", "name=one", "towers=popularity")
    words = (*words, "evaluation.test=false", "seed=0,1")
    asked = "hydra.callbacks.study.metric=true_recall@20/head"
    assert tiny.command("train", "-m", *words, asked) == 2
    assert "no run has the metric 'true_recall@20/head'" in capsys.readouterr().err
    assert tiny.command("train", "-m", *words) == 0


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
    assert "recall@20, difference to in-batch with 95 % interval" in shown
    assert f"{row['low_verdict']:+.4f} to {row['high_verdict']:+.4f}" in shown


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


def test_an_experiment_names_its_base(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "training.steps=10", "seed=0")
    words = (*words, "training.patience=null", "baselines=false")
    study = ("train", "-m", "experiment=quickstart", *words)
    assert tiny.command(*study, "arms=popularity,in_batch_logq,uniform") == 0
    shown = capsys.readouterr().out
    assert "true_recall@20, difference to in-batch + logQ" in shown
    assert "the interval is over queries only" in shown
    base = "hydra.callbacks.study.base=popularity"
    assert tiny.command(*study, "arms=popularity,uniform", base) == 0
    assert "difference to popularity" in capsys.readouterr().out
    # A part of the study has its report too, against its first trained arm.
    assert tiny.command(*study, "name=baseless", "arms=popularity,uniform") == 0
    shown = capsys.readouterr().out
    assert "The base arm in-batch + logQ has no finished run." in shown.replace(
        "\n", " "
    )
    assert "difference to uniform" in shown
    assert len(runs(tmp_path / "baseless")) == 2


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


def test_one_configuration_under_two_labels_is_refused_before_any_run(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "name=twice", "towers=popularity")
    assert tiny.command("train", "-m", *words, "arm=first,second", "seed=0,1") == 2
    shown = capsys.readouterr()
    assert shown.err.count("error: ") == 1 and "Traceback" not in shown.err
    assert "arm='first' and arm='second' are one configuration" in shown.err
    assert not (tmp_path / "twice").exists()
    # In a later sweep it is the run of before, under the label of before.
    assert tiny.command("train", *words, "arm=first") == 0
    assert tiny.command("train", *words, "arm=second") == 0
    assert "finished before as the arm 'first'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["arms=foo"], ["'arms/foo'", "Available options", "in_batch_logq"]),
        (["arms=uniform,foo"], ["'arms/foo'", "Available options", "in_batch_logq"]),
        (["experiment=foo"], ["'experiment/foo'", "Available options", "quickstart"]),
        (["arms=null"], ["arms=null: a group", "leave the word out, or name one"]),
        (["arms=uniform,null"], ["arms=uniform,null: a group", "leave the word out"]),
    ],
)
def test_arms_that_do_not_exist(tmp_path, capsys, words, parts):
    assert tiny.command("train", "-m", f"output={tmp_path}/out", *words) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "Traceback" not in error
    assert all(part in error for part in parts), error
    assert not list(tmp_path.glob("out/*/*/config.yaml"))


def test_failed_run_is_reported_with_its_reason_and_alone_tried_again(
    tmp_path, capsys, monkeypatch
):
    write, tried = run._write_tables, []

    def fail_once(attempt, *rest):
        tried.append(attempt.config.seed)
        if tried == [0, 1]:
            raise OSError("no space left")
        write(attempt, *rest)

    monkeypatch.setattr(run, "_write_tables", fail_once)
    words = (*tiny.SMALL, f"output={tmp_path}", "name=retry", "towers=popularity")
    assert tiny.command("train", "-m", *words, "seed=0,1,2") == 1
    folder = tmp_path / "retry"
    shown = capsys.readouterr()
    assert tried == [0, 1, 2] and "error: no space left" in shown.err
    assert "skipped 1 folder(s):" in shown.out
    page = Page(folder / "report.html")
    (failed,) = (p for p in folder.glob("*/") if not (p / "result.json").exists())
    reason = f"{failed.name}: status is failed: OSError: no space left"
    assert reason in page.texts["Skipped folders (1)"] and reason in shown.out
    assert "2 finished: 1 arms, 2 seeds; 1 folders" in page.texts["Cost"]
    assert tiny.command("train", "-m", *words, "seed=0,1,2") == 0
    assert tried == [0, 1, 2, 1]
    assert capsys.readouterr().out.count("finished before") == 2
    page = Page(folder / "report.html")
    assert "3 finished: 1 arms, 3 seeds; 0 folders" in page.texts["Cost"]


def test_study_of_an_experiment_is_reported_again_without_options(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "training.steps=10", "seed=0")
    asked = ("question", "metric", "base")
    values = ("Which one, then?", "ndcg@20", "uniform")
    given = [
        f"hydra.callbacks.study.{key}={json.dumps(value)}"
        for key, value in zip(asked, values, strict=True)
    ]
    words = ("-m", *words, "towers=popularity", "name=asked", *given)
    words = (*words, "arms=in_batch,uniform")
    assert tiny.command("train", *words) == 0
    folder = tmp_path / "asked"
    before = (folder / "report.html").read_bytes()
    written = tiny.read_json(folder / "study.json")
    assert [written[key] for key in asked] == [*values]
    assert "ndcg@20, difference to uniform" in capsys.readouterr().out
    assert "Which one, then?" in Page(folder / "report.html").texts["Study asked"]
    assert tiny.command("report", str(folder)) == 0
    assert (folder / "report.html").read_bytes() == before
    capsys.readouterr()
    assert tiny.command("report", str(folder), "--metric", "ndgc@20") == 2
    error = capsys.readouterr().err
    assert "no run has the metric 'ndgc@20'" in error and "mean ndcg@20?" in error


def test_sweeps_in_several_folders_are_reported_together(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "towers=popularity", "arm=hot")
    for name, seeds in (("one", "0,1"), ("two", "1,2")):
        assert tiny.command("train", "-m", *words, f"name={name}", f"seed={seeds}") == 0
    other = ("name=other", "data.test_share=0.2", "seed=0,1")
    assert tiny.command("train", "-m", *words, *other) == 0
    capsys.readouterr()
    places = [str(tmp_path / name) for name in ("one", "two")]
    out = tmp_path / "both"
    (tmp_path / "two/notes").mkdir()
    assert tiny.command("report", *places, "--out", str(out)) == 0
    shown = capsys.readouterr().out
    assert "skipped 2 folder(s):" in shown and f"{places[1]}/notes: not a run" in shown
    assert "the same arm and seed as" in shown
    table = pl.read_csv(out / "study.csv")
    assert sorted(set(table["seed"])) == [0, 1, 2] and set(table["arm"]) == {"hot"}
    assert tiny.command("report", *places, str(tmp_path / "other")) == 2
    error = capsys.readouterr().err
    (first,) = {r["data_fingerprint"] for r in manifests(tmp_path / "one")}
    (second,) = {r["data_fingerprint"] for r in manifests(tmp_path / "other")}
    assert first in error and second in error
    assert "one/" in error and "other/" in error


def manifests(folder):
    return [tiny.read_json(path) for path in folder.glob("*/manifest.json")]
