"""The manifest of a run: how it was made, and at which commit, without running git."""

import json
import subprocess
from pathlib import Path

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


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init")
    (folder / "a").write_text("a")
    git(folder, "add", "a")
    git(folder, "commit", "-m", "a")
    return folder


def test_it_is_that_of_git_on_a_branch_below_it_packed_and_detached(repository):
    inside = repository / "b"
    inside.mkdir()
    head = git(repository, "rev-parse", "HEAD")
    assert commit_of(repository) == commit_of(inside) == head
    git(repository, "pack-refs", "--all")
    assert commit_of(repository) == head
    git(repository, "checkout", "--detach")
    assert commit_of(repository) == head


@pytest.mark.parametrize("packed", [False, True])
def test_a_worktree_has_the_commit_of_its_branch(packed, repository, tmp_path):
    git(repository, "worktree", "add", "-b", "other", str(tmp_path / "tree"))
    (tmp_path / "tree" / "a").write_text("b")
    git(tmp_path / "tree", "commit", "-am", "b")
    if packed:
        git(repository, "pack-refs", "--all")
    head = git(tmp_path / "tree", "rev-parse", "HEAD")
    assert commit_of(tmp_path / "tree") == head != commit_of(repository)


def test_nothing_that_the_repository_names_is_run(repository, tmp_path):
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {ran}\n")
    script.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(script))
    git(repository, "config", "filter.x.clean", str(script))
    (repository / ".gitattributes").write_text("* filter=x\n")
    (repository / "a").write_text("changed")
    assert commit_of(repository) is not None
    assert not ran.exists()
    git(repository, "status")
    assert ran.exists()  # what git itself does there


@pytest.mark.parametrize(
    "head", ["", "ref: refs/heads/none", "ref: ../../secret", "not hexadecimal", None]
)
def test_there_is_none_without_one(head, tmp_path):
    assert commit_of(Path(tmp_path)) is None or head is None
    folder = tmp_path / ".git"
    folder.mkdir()
    (tmp_path / "secret").write_text("a" * 40)
    if head is not None:
        (folder / "HEAD").write_text(head)
    assert commit_of(tmp_path) is None


def test_a_file_that_is_no_regular_one_is_not_read(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").symlink_to("/dev/zero")
    assert commit_of(tmp_path) is None
