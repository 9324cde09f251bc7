"""Pipes, links and folders in odd places, and files that change: one message each."""

import errno
import logging
import os
import subprocess
import sys

import pytest
from helpers import tiny

from twotower_jax import __main__, cli
from twotower_jax.data.drafts import draft_of
from twotower_jax.signals import INTERRUPTS
from twotower_jax.training import checkpoint

KEPT = (*tiny.SMALL, "evaluation.save_topk=true")
LOG = "user,item,time\n" + "".join(f"u{n % 9},i{n % 7},{n}\n" for n in range(99))


@pytest.fixture
def done(tmp_path):
    """Return the words of a finished run, and its folder."""
    words = ("train", *KEPT, f"output={tmp_path}")
    assert tiny.command(*words) == 0
    (path,) = tmp_path.glob("*/*/result.json")
    return words, path.parent


def refused(capsys, *words):
    """Return the message of a command that is refused."""
    capsys.readouterr()
    assert tiny.command(*words) in (1, 2)
    shown = capsys.readouterr().err
    assert "Traceback" not in shown and shown.count("error: ") == 1, shown
    return shown


def test_a_pipe_in_place_of_a_configuration_is_not_waited_for(done, capsys):
    words, run = done
    (run / "config.yaml").unlink()
    os.mkfifo(run / "config.yaml")
    assert "config.yaml" in refused(capsys, *words)


def test_a_folder_in_place_of_a_status_is_named(done, capsys):
    words, run = done
    (run / "status.json").unlink()
    (run / "status.json").mkdir()
    assert f"{run / 'status.json'}: " in refused(capsys, *words)


@pytest.mark.parametrize("name", ["topk.trec", "qrels.trec", "topk.parquet"])
def test_a_changed_list_is_refused_by_name(name, done, capsys):
    words, run = done
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    for command in (words, ("evaluate", str(run))):
        assert f"{name} is not as the run wrote it" in refused(capsys, *command)


@pytest.mark.parametrize(
    "command", [("train",), ("data", "check"), ("data", "prepare")], ids=" ".join
)
def test_a_pipe_in_place_of_a_log_is_refused(command, tmp_path, capsys):
    os.mkfifo(tmp_path / "log.csv")
    words = ("data=table", f"data.path={tmp_path / 'log.csv'}")
    more = ("--out", str(tmp_path / "made")) if "prepare" in command else ()
    message = refused(capsys, *command, *words, *more)
    assert "data.path=" in message and "is a pipe or a device" in message


def test_damaged_lines_of_a_killed_run_are_counted(tmp_path, capsys):
    words = ("train", *tiny.SMALL, f"output={tmp_path}")
    assert tiny.command(*words, "pause=30") == 0
    (path,) = tmp_path.glob("*/*/metrics.jsonl")
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_bytes(b"\xff" + first[1:].encode() + "".join(rest).encode())
    capsys.readouterr()
    killed = '{"status": "running", "reason": null}'
    (path.parent / "status.json").write_text(killed)
    assert tiny.command(*words) == 0
    assert "not used: 1 damaged lines of metrics.jsonl" in capsys.readouterr().out
    assert [one["step"] for one in tiny.read_lines(path)] == [20, 30, 40]


def test_a_loop_of_links_is_refused(done, tmp_path, capsys):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    words = ("export", str(done[1]), "--out", str(tmp_path / "a"))
    assert "is a link that leads nowhere" in refused(capsys, *words)


def test_checkpoints_that_lead_elsewhere_are_refused(tmp_path, capsys):
    words = ("train", *tiny.SMALL, f"output={tmp_path / 'out'}")
    assert tiny.command(*words, "pause=20") == 0
    (place,) = (tmp_path / "out").glob("*/*/checkpoints")
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").rglob("*"))
    said = refused(capsys, *words)
    assert f"{place} is a link" in said and "output=" in said
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before


def test_the_error_of_a_thread_of_orbax_is_printed_once(caplog):
    assert callable(checkpoint.save_arrays)  # its import has changed that log
    log = logging.getLogger("absl")
    log.error("[thread=a] _SignalingThread.run() raised an exception: no space")
    log.error("another error")
    assert caplog.messages == ["another error"]


def test_a_report_in_place_of_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    assert "is not a folder" in refused(capsys, "report", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "kept"


def test_a_training_that_moves_nothing_is_warned_of(tmp_path, capsys):
    words = ("train", *tiny.SMALL, f"output={tmp_path}", "optimizer.learning_rate=1e10")
    assert tiny.command(*words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "warning: the last 3 validations have the same metrics" in shown


def test_an_error_names_the_file_and_not_its_draft(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError) as raised, draft_of(tmp_path / "a.json") as draft:
        draft.write_text("whole")
    assert raised.value.errno == errno.EISDIR
    assert raised.value.filename == str(tmp_path / "a.json")


# ------------------------------------------------------------------------------ Ctrl-C


def test_an_import_that_turns_ctrl_c_into_another_error_ends_in_silence(monkeypatch):
    def main():
        INTERRUPTS.noted = True
        raise ImportError("initialization failed")

    monkeypatch.setattr(cli, "main", main)
    with pytest.raises(SystemExit) as end:
        __main__.start()
    assert end.value.code == 130
    INTERRUPTS.noted = False


LOST = """
import gc, os, signal
from twotower_jax.training import checkpoint
from twotower_jax.signals import INTERRUPTS
INTERRUPTS.begin()
done = []
def lost(phase, info):
    if not done:
        done.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
gc.callbacks.append(lost)
gc.collect()
print(INTERRUPTS.noted)
"""


@pytest.mark.slow
def test_ctrl_c_that_cannot_be_raised_is_noted_and_not_printed():
    done = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


UNRAISED = """
from twotower_jax.training import checkpoint
from twotower_jax.signals import INTERRUPTS
class Lost:
    def __del__(self):
        raise ValueError("lost")
INTERRUPTS.begin()
Lost()
"""


@pytest.mark.slow
def test_other_errors_that_cannot_be_raised_are_printed():
    done = subprocess.run(
        [sys.executable, "-c", UNRAISED], capture_output=True, text=True, check=False
    )
    assert "ValueError: lost" in done.stderr
