"""Files are whole or absent, and the remains of ended processes are removed."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from twotower_jax.data import drafts
from twotower_jax.data.drafts import draft_of, new_draft, scratch

KILLED = """
import os, signal, sys
from pathlib import Path
from twotower_jax.data.drafts import draft_of, scratch
with draft_of(Path(sys.argv[1])) as draft, scratch() as folder:
    draft.write_text("half")
    (folder / "copy").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Return a path whose writer was killed, and the folder of temporary files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    path = tmp_path / "out" / "a.json"
    path.parent.mkdir()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -9
    return path, temporary


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_draft_takes_the_place_of_its_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with draft_of(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == ["a.json"]


@pytest.fixture
def calls(monkeypatch):
    """Return the paths that are waited for, and the renames, in their order."""
    made, fsync, replace = [], os.fsync, Path.replace

    def waited(file):
        made.append(Path(os.readlink(f"/proc/self/fd/{file}")).name)
        fsync(file)

    def renamed(draft, path):
        made.append("rename")
        return replace(draft, path)

    monkeypatch.setattr(os, "fsync", waited)
    monkeypatch.setattr(Path, "replace", renamed)
    return made


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="needs /proc, to name an open file"
)


@needs_proc
def test_a_draft_is_on_the_disk_before_its_place_is_taken(tmp_path, calls):
    with draft_of(tmp_path / "a.json") as draft:
        draft.write_text("new")
    assert calls == [draft.name, "rename", tmp_path.name]


@needs_proc
def test_all_files_of_a_folder_are_on_the_disk_before_its_place_is_taken(
    tmp_path, calls
):
    with draft_of(tmp_path / "a") as draft:
        (draft / "deep").mkdir(parents=True)
        (draft / "one").write_text("1")
        (draft / "deep" / "two").write_text("2")
    place = calls.index("rename")
    assert sorted(calls[:place]) == sorted([draft.name, "deep", "one", "two"])
    assert calls[place + 1 :] == [tmp_path.name]


def test_a_file_system_that_cannot_wait_for_folders_is_used(tmp_path, monkeypatch):
    fsync = os.fsync

    def refused(file):
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(file)

    monkeypatch.setattr(os, "fsync", refused)
    with draft_of(tmp_path / "a.json") as draft:
        draft.write_text("new")
    assert (tmp_path / "a.json").read_text() == "new"


def test_a_file_that_cannot_be_waited_for_is_named(tmp_path, monkeypatch):
    def failed(file):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failed)
    path = tmp_path / "a.json"
    with pytest.raises(OSError, match="Input/output") as found, draft_of(path) as draft:
        draft.write_text("new")
    assert found.value.filename == str(path) and names(tmp_path) == []


@pytest.mark.parametrize("folder", [True, False])
def test_a_draft_is_removed_after_an_error(tmp_path, folder):
    path = tmp_path / "a"
    with pytest.raises(KeyError), draft_of(path) as draft:
        draft.mkdir() if folder else draft.write_text("half")
        (draft / "b").write_text("half") if folder else None
        raise KeyError
    assert names(tmp_path) == []


def test_the_draft_of_a_killed_process_is_removed_by_the_next(ended):
    path, _ = ended
    assert len(names(path.parent)) == 1
    with draft_of(path.parent / "a.json.csv") as draft:
        draft.write_text("of another file")
    assert len(names(path.parent)) == 2
    with draft_of(path) as draft:
        draft.write_text("whole")
    assert names(path.parent) == ["a.json", "a.json.csv"]


def test_the_copies_of_a_killed_process_are_removed_by_the_next(ended):
    _, temporary = ended
    (other,) = names(temporary)
    with scratch() as folder:
        assert names(temporary) == [folder.name] != [other]
    assert names(temporary) == []


def test_the_draft_of_a_running_process_stays(tmp_path):
    path = tmp_path / "a.json"
    one = new_draft(path)
    mine = one.with_name(one.name.replace(str(os.getpid()), str(os.getppid())))
    mine.write_text("being written")
    with draft_of(path) as draft:
        draft.write_text("whole")
    assert mine.read_text() == "being written"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        pl.exceptions.ComputeError("parquet: underlying IO error (os error 28)"),
    ],
    ids=["of Python", "of polars"],
)
def test_an_error_of_the_disk_names_the_file(tmp_path, error):
    path = tmp_path / "a.parquet"
    with pytest.raises(OSError) as raised, draft_of(path):
        raise error
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(path)


@pytest.mark.parametrize(
    "error",
    [
        OSError("2400 requested and 0 written"),
        pl.exceptions.ComputeError("parquet: Invalid thrift: transport error"),
    ],
    ids=["of numpy", "of polars"],
)
@pytest.mark.parametrize("free, number", [(9, errno.ENOSPC), (10**9, errno.EIO)])
def test_a_failed_write_without_a_reason_asks_for_the_space_that_is_left(
    tmp_path, monkeypatch, error, free, number
):
    monkeypatch.setattr(
        drafts.shutil, "disk_usage", lambda _: SimpleNamespace(free=free)
    )
    path = tmp_path / "a.npy"
    with pytest.raises(OSError) as raised, draft_of(path):
        raise error
    assert raised.value.errno == number and raised.value.filename == str(path)


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(pl.exceptions.ComputeError), draft_of(tmp_path / "a"):
        raise pl.exceptions.ComputeError("no such column")


@pytest.mark.parametrize("days, stays", [(1, True), (8, False)])
def test_the_draft_of_another_host_stays_for_a_week(tmp_path, days, stays):
    path = tmp_path / "a.json"
    name = new_draft(path).name
    other = tmp_path / name.replace(drafts._host(), "0" * 8)
    other.write_text("on another host")
    moment = other.stat().st_mtime - days * 24 * 3600
    os.utime(other, (moment, moment))
    new_draft(path)
    assert other.exists() == stays


def test_a_link_in_place_of_a_draft_is_removed_and_not_followed(tmp_path):
    path, kept = tmp_path / "a.json", tmp_path / "kept"
    kept.mkdir()
    (kept / "b").write_text("kept")
    name = new_draft(path).name
    ended = 2**22 + 1  # above the largest number of a process
    link = Path(tmp_path / name.replace(str(os.getpid()), str(ended)))
    link.symlink_to(kept, target_is_directory=True)
    new_draft(path)
    assert not link.is_symlink() and (kept / "b").exists()
