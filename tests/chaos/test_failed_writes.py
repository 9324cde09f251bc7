"""Each call that writes fails once: the run ends with a message, and recovers."""

import errno
import os
import sys

import pytest
from helpers import tiny
from helpers.chaos import campaign, chosen

WRITES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Faults:
    """Counts the calls that write below a folder, and lets one of them fail."""

    def __init__(self):
        self.folder, self.seen, self.failing = None, 0, None

    def __call__(self, event, arguments):
        if self.folder is None or (event != "open" and event not in WRITES):
            return
        path = arguments[0]
        if event == "open" and not (arguments[2] or 0) & WRITING:
            return
        if not isinstance(path, (str, os.PathLike)):
            return
        if not os.fspath(path).startswith(self.folder):
            return
        self.seen += 1
        if self.seen == self.failing:
            raise OSError(errno.ENOSPC, "No space left on device", os.fspath(path))

    def within(self, folder, failing=None):
        self.folder, self.seen, self.failing = str(folder), 0, failing


FAULTS = Faults()


@pytest.fixture(scope="module", autouse=True)
def hook():
    # Such a hook cannot be removed; without a folder it does nothing.
    sys.addaudithook(FAULTS)
    yield
    FAULTS.folder = None


def train(folder, failing=None):
    """Run the command with a failing call; return the status and the calls seen."""
    FAULTS.within(folder, failing)
    try:
        status = tiny.command("train", *tiny.SMALL, f"output={folder}")
    finally:
        FAULTS.folder = None
    return status, FAULTS.seen


def metrics(folder):
    (path,) = folder.glob("*/*/result.json")
    return tiny.read_json(path)["metrics"]


@pytest.mark.slow
def test_a_failed_write_loses_nothing(tmp_path, capsys):
    status, number = train(tmp_path / "whole")
    assert status == 0 and number > 20
    whole, ended = metrics(tmp_path / "whole"), {0: 0, 1: 0, 2: 0}
    with campaign("failed writes of a run") as counts:
        for place in chosen(number, full=1000):
            folder = tmp_path / f"{place}"
            status, _ = train(folder, failing=place + 1)
            shown = capsys.readouterr()
            assert status in ended, (place, shown.err)
            assert "Traceback" not in shown.err, (place, shown.err)
            assert shown.err.count("error: ") == (status > 0), (place, shown.err)
            ended[status] += 1
            assert train(folder)[0] == 0, (place, capsys.readouterr().err)
            assert metrics(folder) == whole, place
            capsys.readouterr()
        counts |= {"trials": sum(ended.values()), "went on": ended[0]}
        counts |= {"ended with a message": ended[1] + ended[2]}
