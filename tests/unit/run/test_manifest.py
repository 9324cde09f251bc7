"""The manifest of a run: how it was made, and at which commit."""

import json
import subprocess

import pytest

from twotower_jax.config import Config
from twotower_jax.run.manifest import VERSIONS, changes, commit_of, manifest, processor

PERSON = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=m")


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


def git(folder, *words):
    done = subprocess.run(
        ["git", *PERSON, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_commit_is_that_of_git_and_nothing_that_a_repository_names_is_run(tmp_path):
    folder, ran, script = tmp_path / "a", tmp_path / "ran", tmp_path / "script"
    (folder / "inside").mkdir(parents=True)
    assert commit_of(folder) is None
    git(folder, "init")
    assert commit_of(folder) is None  # no commit yet
    git(folder, "commit", "--allow-empty", "-m", "a")
    script.write_text(f"#!/bin/sh\ntouch {ran}\n")
    script.chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(script))
    assert commit_of(folder / "inside") == git(folder, "rev-parse", "HEAD")
    assert not ran.exists()
    git(folder, "status")
    assert ran.exists()  # what git itself does there
