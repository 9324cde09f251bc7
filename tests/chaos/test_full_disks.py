"""A disk that is full or refuses writes: one message, and the same result later."""

import shutil

import numpy as np
import pytest
from helpers import long_log, tiny
from helpers.chaos import campaign, contents, results, trials
from helpers.disks import Disk, missing

MEGABYTES = 48
SWEEP = ("train", "-m", *tiny.SMALL, "arms=uniform,in_batch", "seed=0,1")
# Words of commands but the folder that they write, and bytes that these take.
COMMANDS = {
    "train": (("train", *tiny.SMALL), results, 500_000),
    "a sweep": ((*SWEEP, "baselines=false"), results, 1_500_000),
    "export": (("export", "{run}", "--out"), contents, 200_000),
    "report": (("report", "{runs}", "--out"), contents, 300_000),
    "data prepare": (("data", "prepare", "{log}", "--out"), contents, 20_000_000),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Return the words for a run and its sweep, which are finished, and for a log."""
    output = tmp_path_factory.mktemp("sweep")
    assert tiny.command(*SWEEP, "baselines=false", f"output={output}") == 0
    (first, *_) = sorted(output.glob("simulator/*/result.json"))
    log = long_log.write(tmp_path_factory.mktemp("log") / "files")
    return {"{run}": (str(first.parent),), "{runs}": (str(first.parents[1]),)} | {
        "{log}": log
    }


def run(words, places, folder, capfd):
    """Run a command that writes a folder; return its status and its messages."""
    given = [one for word in words for one in places.get(word, (word,))]
    last = [str(folder)] if words[-1] == "--out" else [f"output={folder}"]
    status, shown = tiny.command(*given, *last), capfd.readouterr()
    text = shown.err + shown.out
    assert "Traceback" not in text and status in (0, 1, 2), text
    assert bool(status) == ("error: " in shown.err), text
    return status, shown.err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_loses_nothing(name, places, tmp_path, capfd):
    words, read, size = COMMANDS[name]
    rng = np.random.default_rng(0)
    number, ended = trials(50), 0
    with Disk(tmp_path, MEGABYTES) as disk, campaign(f"full disks: {name}") as counts:
        folder = disk.folder / "out"
        assert run(words, places, folder, capfd)[0] == 0
        whole = read(folder)
        for _ in range(number):
            shutil.rmtree(folder)
            fill = disk.fill(int(rng.integers(size)))
            status, text = run(words, places, folder, capfd)
            # `data prepare` asks for the space before it writes.
            assert not status or "No space left" in text or "MB free" in text, text
            fill.unlink()
            if name != "export" or not folder.exists():
                status_after, text = run(words, places, folder, capfd)
                assert status_after == 0, text
            assert read(folder) == whole
            ended += bool(status)
        counts |= {"trials": number, "ended with a message": ended}
    assert ended


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_refuses_writes_is_named(name, places, tmp_path, capfd):
    words, _, _ = COMMANDS[name]
    with Disk(tmp_path, MEGABYTES) as disk:
        disk.read_only()
        status, text = run(words, places, disk.folder / "out", capfd)
        assert status and "Read-only file system" in text and ".tmp" not in text
        assert str(disk.folder) in text
