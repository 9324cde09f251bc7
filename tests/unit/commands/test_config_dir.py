"""``--config-dir`` of every command."""

import json
import re

import pytest
from helpers import tiny

from twotower_jax.sweeps.compose import compose_config

ONE = "an existing one"


@pytest.fixture
def folder(tmp_path):
    """Write an arm of one's own, and return the folder of the configuration."""
    folder = tmp_path / "my conf"
    (folder / "arms").mkdir(parents=True)
    text = "# @package _global_\narm: mine\nloss:\n  temperature: 0.11\n"
    (folder / "arms" / "mine.yaml").write_text(text)
    return folder


@pytest.mark.slow
def test_data_check_reads_the_folder(folder, tmp_path, capsys):
    words = ("data", "check", *tiny.WORLD, "arms=mine")
    assert tiny.command(*words) == 2
    assert "arms/mine" in capsys.readouterr().err
    assert tiny.command(*words, "--config-dir", str(folder)) == 0
    path = tmp_path / "a.csv"
    path.write_text("user,item\n" + "".join(f"{i % 9},{i % 7}\n" for i in range(60)))
    capsys.readouterr()
    words = ("data", "check", str(path), "arms=mine", "--config-dir", str(folder))
    assert tiny.command(*words) == 0
    shown = capsys.readouterr().out.replace("\\\n", "").split()
    assert " ".join(shown).count(f"train --config-dir '{folder}'") == 1
    assert " ".join(shown).count(f"train -m --config-dir '{folder}'") == 1


@pytest.mark.slow
def test_audit_reads_the_folder(folder, tmp_path, capsys):
    out = tmp_path / "out"
    words = ("audit", "arms=mine", f"--out={out}")
    assert tiny.command(*words) == 2
    assert "arms/mine" in capsys.readouterr().err
    assert tiny.command(*words, "--config-dir", str(folder)) == 0
    assert "mine" in capsys.readouterr().out and list(out.glob("*.svg"))


@pytest.mark.slow
def test_advise_reads_the_folder(folder, tmp_path, capsys):
    """It goes on to the next wrong word, before any run."""
    (folder / "towers").mkdir()
    (folder / "towers" / "mine.yaml").write_text("dim: 8\n")
    words = ("advise", *tiny.WORLD, f"output={tmp_path}", "data.valid_share=0")
    assert tiny.command(*words, "towers=mine") == 2
    assert "towers/mine" in capsys.readouterr().err
    assert tiny.command(*words, "towers=mine", "--config-dir", str(folder)) == 2
    assert "leaves no valid part" in capsys.readouterr().err


COMMANDS = (
    ("train",),
    ("advise",),
    ("audit",),
    ("plan",),
    ("report", "runs"),
    ("evaluate", "run"),
    ("export", "run", "--out", "model"),
    ("reproduce", "run"),
    ("data", "list"),
    ("data", "check"),
    ("data", "prepare", "--out", "prepared"),
    ("data", "fetch"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_every_command_names_a_folder_that_is_not_there(words, tmp_path, capsys):
    place = str(tmp_path / "none")
    size = 2 if words[0] == "data" else 1
    behind = (*words[:size], "--config-dir", place, *words[size:])
    for line in (("--config-dir", place, *words), behind, (*words, "-cd", place)):
        assert tiny.command(*line) == 2
        error = capsys.readouterr().err
        assert error == f"error: --config-dir {place} is not a folder; give {ONE}\n"


def test_the_commands_above_are_all(capsys):
    tiny.command("--help")
    shown = capsys.readouterr().out
    listed = set(re.findall(r"^    (\w+) ", shown, re.MULTILINE))
    assert listed == {words[0] for words in COMMANDS}
    tiny.command("data", "--help")
    shown = capsys.readouterr().out
    listed = set(re.findall(r"^    (\w+) ", shown, re.MULTILINE))
    assert listed == {words[1] for words in COMMANDS if words[0] == "data"}


@pytest.mark.slow
def test_an_alias_with_the_folder_serves_every_command(folder, tmp_path, capsys):
    """Commands that compose nothing do the same with and without it."""
    alias = ("--config-dir", str(folder))
    small = (*tiny.SMALL, "training.steps=4", "training.eval_every=4", "arms=mine")
    out, run = tmp_path / "out", tmp_path / "model"
    assert tiny.command(*alias, "train", *small, f"output={out}") == 0
    (result,) = out.rglob("result.json")
    for words in (
        ("evaluate", str(result.parent)),
        ("reproduce", str(result.parent)),
        ("report", str(result.parent.parent), "--no-objective"),
        ("export", str(result.parent), "--out", str(run)),
        ("data", "list"),
        ("data", "fetch"),
        ("data", "check", *tiny.WORLD, "arms=mine"),
    ):
        assert tiny.command(*alias, *words) == 0, capsys.readouterr().err
    assert (run / "manifest.json").is_file()


@pytest.mark.slow
def test_a_run_of_the_folder_is_evaluated_and_reported_without_it(
    folder, tmp_path, capsys
):
    """evaluate, reproduce and report read the config.yaml of the run."""
    words = (*tiny.SMALL, "training.steps=4", "training.eval_every=4", "arms=mine")
    out = f"output={tmp_path / 'out'}"
    assert tiny.command("train", "--config-dir", str(folder), *words, out) == 0
    (run,) = (path.parent for path in (tmp_path / "out").rglob("result.json"))
    assert json.loads((run / "status.json").read_text())["status"] == "done"
    assert "temperature: 0.11" in (run / "config.yaml").read_text()
    for command in ("evaluate", "reproduce"):
        assert tiny.command(command, str(run)) == 0
    report = ("report", str(run.parent), "--no-objective")
    assert tiny.command(*report) == 0
    assert compose_config([]).loss.temperature != 0.11
