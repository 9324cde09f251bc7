"""The manifest of a run: how it was made."""

import json

from twotower_jax.config import Config
from twotower_jax.run.manifest import VERSIONS, git_state, manifest


def test_the_manifest_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = manifest(Config(seed=3), "abc", "cpu", "twotower train seed=3")
    assert values["seed"] == 3 and values["data_fingerprint"] == "abc"
    assert values["command"] == "twotower train seed=3"
    assert set(values["versions"]) == set(VERSIONS)
    assert json.dumps(values)


def test_outside_git_and_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_state() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() is None
