"""Options may stand anywhere among overrides."""

import pytest
from helpers import tiny


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("train seed=3 --cfg job name=mine", marks=pytest.mark.slow),
        "train --cfg job seed=3 name=mine",
        "train seed=3 -c job name=mine --resolve",
        "train seed=3 ~trackers --cfg job -cd . name=mine",
        pytest.param("-cd . train seed=3 name=mine -c job", marks=pytest.mark.slow),
    ],
)
def test_train_takes_overrides_after_an_option(line, capsys):
    assert tiny.command(*line.split()) == 0, capsys.readouterr().err
    lines = capsys.readouterr().out.splitlines()
    assert {"seed: 3", "name: mine"} <= set(lines)


def test_the_last_override_wins_in_any_order(capsys):
    words = ["train", "loss.temperature=0.2", "-c", "job", "loss.temperature=0.3"]
    assert tiny.command(*words) == 0
    assert "  temperature: 0.3" in capsys.readouterr().out.splitlines()


def test_a_run_keeps_the_command_as_it_was_typed(tmp_path):
    words = [*tiny.SMALL, "training.steps=2", "training.eval_every=2"]
    line = ["train", words[0], "--run", *words[1:], f"output={tmp_path}"]
    assert tiny.command(*line) == 0
    (manifest,) = tmp_path.rglob("manifest.json")
    command = tiny.read_json(manifest)["command"]
    assert command.split()[:4] == ["twotower", "train", words[0], "--run"]


def test_other_commands_take_overrides_after_an_option(tmp_path, capsys):
    folder = tmp_path / "conf"
    (folder / "arms").mkdir(parents=True)
    (folder / "arms" / "mine.yaml").write_text("# @package _global_\narm: mine\n")
    words = ("data", "check", tiny.WORLD[0], "-cd", str(folder), *tiny.WORLD[1:])
    assert tiny.command(*words, "arms=mine") == 0
    assert tiny.command(*words, "arms=his") == 2
    assert "arms/his" in capsys.readouterr().err
    words = ("audit", "seed=1", f"--out={tmp_path}", "arms=his")
    assert tiny.command(*words) == 2
    assert "arms/his" in capsys.readouterr().err
    words = ("advise", "seed=1", "-cd", str(folder), "advise.minutes=0")
    assert tiny.command(*words) == 2
    assert "advise.minutes=0 is not above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "audit seed=1 --wrong arms=uniform",
        "train seed=1 --wrong arms=uniform",
        "evaluate run seed=1",
        "data list seed=1",
    ],
)
def test_an_unknown_option_or_a_word_too_many_is_refused(line, capsys):
    assert tiny.command(*line.split()) == 2
    assert "unrecognized arguments" in capsys.readouterr().err
