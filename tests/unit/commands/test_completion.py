"""Tab completion, as a shell asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny

COMMANDS = ["train", "advise", "report", "audit", "evaluate", "export", "reproduce"]
COMMANDS += ["plan", "data"]
MASKS = ["none", "same_item", "user_positives"]
EASY = ["alpha", "num", "sampler", "smoothing"]


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("twotower rep", ["report", "reproduce"]),
        ("twotower exp", ["export"]),
        ("twotower ", COMMANDS),
        ("twotower report outp", []),
        ("twotower train loss=b", ["loss=bce"]),
        ("twotower train negatives.easy.", [f"negatives.easy.{k}=" for k in EASY]),
        ("twotower train seed=1 optimizer.le", ["optimizer.learning_rate="]),
        ("twotower  data  check data=mo", ["data=movielens"]),
        ("twotower data check clicks.csv data.sp", ["data.split="]),
        ("twotower audit loss=b", ["loss=bce"]),
        ("twotower advise data=t", ["data=table"]),
        ("twotower advise adv", ["advise."]),
        ("twotower train neg", ["negatives.", "negatives/", "negatives="]),
        (
            "twotower train experiment=quickstart neg",
            ["negatives.", "negatives/", "negatives="],
        ),
        ("twotower train experiment=lecture/la", ["experiment=lecture/ladder"]),
        (
            "twotower train experiment=wrong neg",
            ["negatives.", "negatives/", "negatives="],
        ),
        ("twotower train ar", ["arm=", "arms="]),
        ("twotower train -m arms=uniform,mixed_", ["arms=uniform,mixed_slots"]),
        ("twotower train towers.hid", ["towers.hidden="]),
        ("twotower train negatives.mask=", [f"negatives.mask={m}" for m in MASKS]),
        ("twotower train data.header=f", ["data.header=false"]),
        (
            "twotower train experiment=select hydra.sweeper.tr",
            ["hydra.sweeper.trials=", "hydra.sweeper.trials_seed="],
        ),
        ("twotower train 'arm=half hard' optimizer.le", ["optimizer.learning_rate="]),
        ("twotower train -cd arms arms=mixed_", ["arms=mixed_slots"]),
        ("twotower --config-dir my train arms=mixed_", ["arms=mixed_slots"]),
        ("twotower -cd=my rep", ["report", "reproduce"]),
        ("twotower train data.query_features.a=numeric trac", ["trackers="]),
        ("twotower train xyz", []),
    ],
)
def test_completions(line, completions, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", line)
    assert tiny.command("-sc", "query=bash") == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(completions)


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_script_may_ask_the_command_train(shell, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", "twotower train negatives.easy.")
    assert tiny.command("train", "-sc", f"query={shell}") == 0
    between = "\n" if shell == "fish" else " "
    expected = between.join(f"negatives.easy.{key}=" for key in EASY)
    assert capsys.readouterr().out == f"{expected}\n"


def test_the_word_at_the_cursor_is_completed(monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", "twotower train loss=b seed=1")
    monkeypatch.setenv("COMP_POINT", str(len("twotower train loss=b")))
    assert tiny.command("-sc", "query=bash") == 0
    assert capsys.readouterr().out.split() == ["loss=bce"]


def test_files_are_completed(tmp_path, monkeypatch, capsys):
    (tmp_path / "clicks.csv").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMP_LINE", "twotower train data=table data.path=./cl")
    assert tiny.command("-sc", "query=bash") == 0
    assert capsys.readouterr().out == "data.path=./clicks.csv\n"


BASH = """
eval "$(twotower train -sc install=bash)"
complete_line() {
    COMP_LINE=$1 COMP_POINT=${#1}
    COMP_WORDS=($1) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    $(complete -p twotower | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
    echo "${COMPREPLY[@]}"
}
complete_line "twotower train neg"
complete_line "twotower train experiment=quickstart arms=plain/ea"
complete_line "twotower train experiment=quickstart negatives.mask=user"
"""


def test_bash_completes(tmp_path):
    """The function that the script defines, called as bash calls it."""
    programs = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH],
        capture_output=True,
        text=True,
        env=env,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.stdout.splitlines() == [
        "negatives. negatives/ negatives=",
        "arms=plain/easy",
        "negatives.mask=user_positives",
    ], done.stderr
    assert not done.stderr


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize("command", [[], ["train"]])
def test_the_script_of_a_shell_asks_this_program(shell, command, capsys):
    assert tiny.command(*command, "-sc", f"install={shell}") == 0
    script = capsys.readouterr().out
    assert f"-sc query={shell}" in script and "complete" in script
    assert "twotower" in script
