"""The command `twotower audit`: cards on the console, files, wrong input."""

import json

import pytest
from helpers.tiny import command

WORDS = ("training.batch_size=256", "negatives.easy.num=64")


@pytest.mark.slow
def test_cards_and_figures_of_several_arms(tmp_path, capsys):
    words = ("audit", *WORDS, "arms=in_batch,in_batch_logq", f"output={tmp_path}")
    assert command(*words) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert heads == ["in-batch", "in-batch + logQ"]
    assert sum("The optimum is not log P" in line for line in lines) == 1
    assert sum("The optimum is log P" in line for line in lines) == 1
    folder = tmp_path / "audit"
    cards = json.loads((folder / "objective.json").read_text())
    del cards["sha256"]
    figures = sorted(path.stem for path in folder.glob("*.svg"))
    assert figures == sorted(cards) and len(cards) == 2
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert command(*words) == 0  # Nothing is computed or changed.
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["towers.kind=popularity"], "has no objective to audit"),
        (["arms=in_batch,baseline/ease"], "towers.kind=ease is a baseline"),
        (["loss.nam=bce"], "did you mean loss.name"),
        (["loss.name=bcee"], "choose one of"),
        (["arms=nothing"], "nothing"),
    ],
)
def test_wrong_input_writes_nothing(words, part, tmp_path, capsys):
    assert command("audit", *words, "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and part in error
    assert not (tmp_path / "out").exists()


def test_the_output_is_a_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command("audit", "--out", str(tmp_path / "file")) == 2
    assert "is a file" in capsys.readouterr().err
