"""The recipe of an advice: short, complete, and trained from any working directory."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from helpers import tiny

from twotower_jax.advice.files import recipe

PATHS = {"path": "log.csv", "items_path": "items.csv", "users_path": "/data/users.csv"}
DATA = ("data=table", "data.columns.user=u", "data.columns.item=i")


def write(words, folder: Path = Path("outputs/advice")) -> str:
    """Return the recipe of an advice whose choice has these overrides."""
    found: Any = SimpleNamespace(tested={"mixed": list(words)}, folder=folder)
    decision: Any = SimpleNamespace(choice=SimpleNamespace(label="mixed"))
    return recipe(found, decision)


def test_every_file_of_the_data_has_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*DATA, *(f"data.{key}={path}" for key, path in PATHS.items())]
    data = yaml.safe_load(write(words))["data"]
    assert data["path"] == str(tmp_path / "log.csv")
    assert data["items_path"] == str(tmp_path / "items.csv")
    assert data["users_path"] == "/data/users.csv"
    assert "test_path" not in data


def test_it_holds_the_choice_alone_and_composes_to_the_configuration(tmp_path, capsys):
    """The same configuration as the overrides of the choice, split and name aside."""
    choice = (*DATA, f"data.path={tmp_path}/log.csv", "arms=mixed")
    choice += ("loss.temperature=0.2", "optimizer=adagrad", "seed=3")
    text = write([*choice, "name=advice/1", "evaluation.k=[50]"], tmp_path)
    assert len(text.splitlines()) < 30 and "evaluation" not in text
    (tmp_path / "recipe.yaml").write_text(text)
    shown = []
    whole = ("data.split=ratio", "data.valid_share=0.0", "data.test_share=0.0")
    for words in (
        ("--config-dir", str(tmp_path), "--config-name", "recipe"),
        (*choice, *whole, "data.fit_valid=false", "name=recipe"),
    ):
        assert tiny.command("train", *words, "--cfg", "job") == 0
        shown.append(yaml.safe_load(capsys.readouterr().out))
    assert shown[0] == shown[1]
