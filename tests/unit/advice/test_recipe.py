"""The recipe of an advice can be trained from any working directory."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from twotower_jax.advice.files import recipe

PATHS = {"path": "log.csv", "items_path": "items.csv", "users_path": "/data/users.csv"}


def test_every_file_of_the_data_has_an_absolute_path(tmp_path, monkeypatch):
    words = ["data=table", "data.columns.user=u", "data.columns.item=i"]
    words += [f"data.{key}={path}" for key, path in PATHS.items()]
    found: Any = SimpleNamespace(tested={"EASE": words}, folder=Path("outputs/advice"))
    decision: Any = SimpleNamespace(choice=SimpleNamespace(label="EASE"))
    monkeypatch.chdir(tmp_path)
    data = yaml.safe_load(recipe(found, decision))["data"]
    assert data["path"] == str(tmp_path / "log.csv")
    assert data["items_path"] == str(tmp_path / "items.csv")
    assert data["users_path"] == "/data/users.csv"
    assert data["test_path"] is None
