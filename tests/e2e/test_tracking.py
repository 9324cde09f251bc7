"""Runs with trackers: records arrive during training, and the numbers do not change."""

import sys

import pytest
from helpers import tiny

from twotower_jax.run.trackers import TRACKERS


class Memory:
    """A tracker that remembers its steps."""

    steps: list[int]

    def start(self, config, folder):
        Memory.steps = []
        assert folder.parent.name == config.name

    def log(self, step, values):
        assert values["loss"] > 0 and 0 <= values["valid/recall@20"] <= 1
        Memory.steps.append(step)

    def finish(self, step, values):
        Memory.result = (step, values)


@pytest.fixture
def words(tmp_path):
    return ("train", *tiny.SMALL, f"output={tmp_path}", "name=tracked")


def test_tracked_run_is_the_same_run(tmp_path, monkeypatch, words, capsys):
    monkeypatch.setitem(TRACKERS, "memory", Memory)
    assert tiny.command(*words, "trackers=[memory]") == 0
    (folder,) = (tmp_path / "tracked").glob("*/")
    lines = tiny.read_lines(folder / "metrics.jsonl")
    assert Memory.steps == [line["step"] for line in lines] == [10, 20, 30, 40]
    result = tiny.read_json(folder / "result.json")
    step, values = Memory.result
    assert step == 40
    assert values["test/recall@20"] == result["metrics"]["test"]["recall@20"]
    # Its folder is that of the run without trackers.
    assert tiny.command(*words) == 0
    assert "finished before" in capsys.readouterr().out
    assert len(list((tmp_path / "tracked").glob("*/"))) == 1


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("wandb", ["needs a package", "pip install 'twotower-jax[track]'"]),
        ("wanbd", ["trackers='wanbd' is unknown", "mlflow, tensorboard, wandb"]),
    ],
)
def test_unusable_tracker_is_refused_before_training(
    tmp_path, monkeypatch, words, capsys, name, parts
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert tiny.command(*words, f"trackers=[{name}]") == 2
    error = capsys.readouterr().err
    assert all(part in error for part in parts) and "Traceback" not in error
    assert not (tmp_path / "tracked").exists() or not any(
        (tmp_path / "tracked").iterdir()
    )
