"""The manifest of a run: how it was made."""

import json

import pytest

from twotower_jax.config import Config
from twotower_jax.run.manifest import VERSIONS, changes, manifest, processor


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


def test_another_version_of_a_library_is_a_change():
    made = manifest(Config(), "abc", "cpu", "twotower train")
    assert changes(made, made) == []
    older = made | {"versions": made["versions"] | {"jax": "0.1"}, "device": "gpu"}
    now = made["versions"]["jax"]
    assert changes(older, made) == ["device gpu, now cpu", f"jax 0.1, now {now}"]
