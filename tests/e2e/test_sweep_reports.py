"""Reports of sweeps: their names, base arm, question, failures and folders."""

import json

import polars as pl
import pytest
from helpers import tiny
from helpers.studies import Page

from twotower_jax.run import rank


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_report_that_cannot_be_made_is_not_kept_as_the_question(tmp_path, capsys):
    """A metric that the runs turn out to lack is reported at the end of the sweep."""
    words = (*tiny.SMALL, f"output={tmp_path}", "name=one", "towers=popularity")
    words = (*words, "evaluation.test=false", "seed=0,1")
    asked = "hydra.callbacks.study.metric=true_recall@20/head"
    assert tiny.command("train", "-m", *words, asked) == 2
    assert "no run has the metric 'true_recall@20/head'" in capsys.readouterr().err
    assert tiny.command("train", "-m", *words) == 0


@pytest.mark.slow
def test_an_experiment_names_its_base(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "training.steps=10", "seed=0")
    words = (*words, "training.patience=null", "baselines=false")
    words = (*words, "hydra.callbacks.study.metric=true_recall@20")
    study = ("train", "-m", "experiment=lecture/ladder", *words)
    assert tiny.command(*study, "arms=popularity,ladder/uniform,ladder/ranked") == 0
    shown = capsys.readouterr().out
    assert "difference to against uniform" in shown
    assert "the interval is over queries only" in shown
    base = "hydra.callbacks.study.base=popularity"
    assert tiny.command(*study, "arms=popularity,ladder/ranked", base) == 0
    assert "difference to popularity" in capsys.readouterr().out
    # A part of the study has its report too, against its first trained arm.
    assert tiny.command(*study, "name=baseless", "arms=popularity,ladder/ranked") == 0
    shown = capsys.readouterr().out
    assert "The base arm against uniform has no finished run." in shown.replace(
        "\n", " "
    )
    assert "difference to against ranked" in shown
    assert len(list(tmp_path.glob("baseless/*/result.json"))) == 2


@pytest.mark.slow
def test_failed_run_is_reported_with_its_reason_and_alone_tried_again(
    tmp_path, capsys, monkeypatch
):
    write, tried = rank.write_tables, []

    def fail_once(record, config, *rest):
        tried.append(config.seed)
        if tried == [0, 1]:
            raise OSError("no space left")
        write(record, config, *rest)

    monkeypatch.setattr(rank, "write_tables", fail_once)
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


@pytest.mark.slow
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
    assert "difference to uniform" in capsys.readouterr().out
    assert "Which one, then?" in Page(folder / "report.html").texts["Study asked"]
    assert tiny.command("report", str(folder)) == 0
    assert (folder / "report.html").read_bytes() == before
    capsys.readouterr()
    assert tiny.command("report", str(folder), "--metric", "ndgc@20") == 2
    error = capsys.readouterr().err
    assert "no run has the metric 'ndgc@20'" in error and "mean ndcg@20?" in error


@pytest.mark.slow
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
