"""Files of a run that are made to hang or crash a reader end with one message."""

import os
import subprocess
import sys

import pytest
from helpers import tiny
from helpers.quick import quick

from twotower_jax.errors import InputError
from twotower_jax.run.execute import run
from twotower_jax.run.folder import run_folder
from twotower_jax.study.runs import read_runs

DEEP = b"[" * 50_000
BOMB = b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10))
    for i in range(1, 10)
)
FILES = ["config.yaml", "manifest.json", "status.json", "result.json"]


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    """The folder of a finished run without checksums, as version 0.1.0 wrote it."""
    config = tiny.make_config(tmp_path_factory.mktemp("hostile"))
    run(config)
    tiny.unseal(run_folder(config))
    return run_folder(config)


@pytest.fixture
def finished(finished_once, tmp_path):
    """A copy of that folder."""
    return tiny.copy_run(finished_once, tmp_path)


def made(path, kind):
    """Put something else in the place of a file."""
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes({"deep": DEEP, "bomb": BOMB, "byte": b"\xff\xfe"}[kind])


def refused(capsys, *words):
    """Run a command that must end with a message, and return the message."""
    status = tiny.command(*words)
    shown = capsys.readouterr()
    assert status == 2 and shown.err.count("error: ") == 1, shown
    assert "Traceback" not in shown.err
    return shown.err


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "kind", quick(["deep", "bomb", "byte", "fifo", "folder"], ["deep", "fifo"])
)
def test_each_reader_ends(name, kind, finished, tmp_path, capsys):
    made(finished / name, kind)
    with pytest.raises(InputError, match=r"no finished run|is broken"):
        read_runs(finished.parent)
    refused(capsys, "evaluate", str(finished))
    refused(capsys, "reproduce", str(finished))
    refused(capsys, "export", str(finished), "--out", str(tmp_path / "made"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("kind", quick(["deep", "byte", "fifo", "folder"], ["byte"]))
@pytest.mark.parametrize("name", ["result.json", "manifest.json", "metrics.jsonl"])
def test_the_same_command_ends_with_a_message_or_with_the_result(
    name, kind, finished, capsys
):
    made(finished / name, kind)
    words = [*tiny.SMALL, f"output={finished.parents[1]}"]
    status = tiny.command("train", *words)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err and shown.err.count("error: ") == status // 2
    if status == 0:
        assert "test recall@20" in shown.out
    else:
        assert name in shown.err


def test_a_folder_of_checkpoints_that_cannot_be_made_ends_the_run(tmp_path, capsys):
    config = tiny.make_config(tmp_path)
    run_folder(config).mkdir(parents=True)
    (run_folder(config) / "checkpoints").touch()
    assert tiny.command("train", *tiny.SMALL, f"output={tmp_path}") == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error and error.count("error: ") == 1
    assert "checkpoints" in error and "Not a directory" in error


FULL_DISK = """
import errno, os, sys
from twotower_jax.cli import main

def fail(event, arguments):
    if event == "os.mkdir" and "orbax-checkpoint-tmp" in os.fspath(arguments[0]):
        raise OSError(errno.ENOSPC, "No space left on device", os.fspath(arguments[0]))

sys.addaudithook(fail)
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_folder_that_orbax_cannot_make_does_not_hold_the_process(tmp_path):
    words = ("train", *tiny.SMALL, f"output={tmp_path}")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *words],
        capture_output=True,
        text=True,
        timeout=150,  # in a thread it would be waited for, for 300 seconds
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and done.stderr.count("error: ") == 1
    assert "No space left on device" in done.stderr
