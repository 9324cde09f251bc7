"""Sweeps that cannot be, or that do not fit their folder, end before any run."""

import pytest
from helpers import tiny

from twotower_jax.data.split import split


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
        (
            ["seed=range(0,1000000000)"],
            "seed=range(0,1000000000) lists 1,000,000,000 values; a sweep has at most",
        ),
        (["seed=shuffle(range(0,1000000000))"], "lists 1,000,000,000 values"),
        (["seed=range(0,9,0)"], "seed=range(0,9,0) lists inf values"),
        (
            ["seed=range(0,1000)", "loss.temperature=range(0.1,1,0.001)"],
            "lists 900 values, 900,000 runs together; a sweep has at most 100,000 runs",
        ),
        (
            [
                "hydra/sweeper=select",
                "hydra.sweeper.tune={loss.temperature:'range(1,900000)'}",
            ],
            "loss.temperature=range(1,900000) lists 899,999 values",
        ),
        (
            [
                "hydra/sweeper=select",
                "hydra.sweeper.tune={loss.temperature:'range(1,900)',"
                "training.steps:'range(1,900)'}",
            ],
            "give an arm 808,201 points of loss.temperature and training.steps",
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


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "fused"])
def test_a_sweep_whose_split_is_empty_fails_once(
    launcher, tmp_path, capsys, monkeypatch
):
    tried = []

    def counted(*arguments):
        tried.append(1)
        return split(*arguments)

    monkeypatch.setattr("twotower_jax.run.loader.split", counted)
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
    assert len(list(tmp_path.glob("first/*/result.json"))) == 1


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
        (
            ["arms=papers/huang/tpo"],
            [
                "Could not find 'arms/papers/huang/tpo'",
                "did you mean papers/huang/top?",
            ],
        ),
        (
            ["arms=huang/top"],
            ["Available options in 'arms'", "did you mean papers/huang/top?"],
        ),
        (["experiment=mns"], ["quickstart", "did you mean papers/mns?"]),
        (["arms=null"], ["arms=null: Config group", "or leave the word out"]),
        (
            ["--cfg", "job"],
            ["Only one of --run, --multirun, --cfg", "leave out -m"],
        ),
        (["arms=uniform,null"], ["arms=uniform,null: Config", "leave the word out"]),
    ],
)
def test_arms_that_do_not_exist(tmp_path, capsys, words, parts):
    assert tiny.command("train", "-m", f"output={tmp_path}/out", *words) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "Traceback" not in error
    assert all(part in error for part in parts), error
    assert not list(tmp_path.glob("out/*/*/config.yaml"))


def test_arms_of_the_users_folder_are_named_too(tmp_path, capsys):
    arms = tmp_path / "conf" / "arms"
    arms.mkdir(parents=True)
    (arms / "mine.yaml").write_text("# @package _global_\ndefaults: [papers/nope]\n")
    own = ("train", "-m", f"output={tmp_path}/out", "-cd", str(tmp_path / "conf"))
    assert tiny.command(*own, "arms=mime") == 2
    assert "did you mean mine?" in capsys.readouterr().err
    assert tiny.command(*own, "arms=mine") == 2
    error = capsys.readouterr().err
    assert "In 'arms/mine'" in error and "papers/nope" in error
