"""The manifest of a run: how it was made."""

import json

import pytest

from twotower_jax.config import Config
from twotower_jax.run.manifest import VERSIONS, git_state, manifest, processor


def test_the_manifest_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = manifest(Config(seed=3), "abc", "cpu", "twotower train seed=3")
    assert values["seed"] == 3 and values["data_fingerprint"] == "abc"
    assert values["command"] == "twotower train seed=3"
    assert set(values["versions"]) == set(VERSIONS)
    assert values["processor"]
    assert json.dumps(values)


@pytest.mark.parametrize(
    "text, name",
    [
        ("model name\t: A B\nflags\t\t: fpu sse4_2 avx avx2\n", "A B, avx2"),
        ("model name\t: A\nflags\t: avx avx2 avx512f avx512cd", "A, avx512f"),
        ("Features\t: fp asimd\n", "arm, asimd"),
        ("model name : A\n", "A"),
        ("", "arm"),
    ],
)
def test_a_processor_with_its_widest_vectors(text, name, tmp_path, monkeypatch):
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert processor(cpuinfo) == name
    assert processor(tmp_path / "missing") == "arm"


def test_outside_git_and_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_state() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() is None
