"""Tab completion, as a shell asks for it."""

import pytest
from helpers import tiny

COMMANDS = ["train", "advise", "report", "audit", "evaluate", "export", "reproduce"]
COMMANDS += ["data"]
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
        ("twotower train xyz", []),
    ],
)
@pytest.mark.parametrize("command", [[], ["train"]])
def test_completions(line, completions, command, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", line)
    assert tiny.command(*command, "-sc", "query=bash") == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(completions)


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize("command", [[], ["train"]])
def test_the_script_of_a_shell_asks_this_program(shell, command, capsys):
    assert tiny.command(*command, "-sc", f"install={shell}") == 0
    script = capsys.readouterr().out
    assert f"-sc query={shell}" in script and "complete" in script
    assert "twotower" in script
