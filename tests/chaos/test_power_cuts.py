"""The power is cut at random moments, again and again, until a command ends.

The folder of the command is on a disk of its own, an ext4 file system in a file. What
has not reached it when the power is cut is lost.
"""

import signal
import subprocess
import time

import numpy as np
import pytest
from helpers import long_log, tiny
from helpers.chaos import campaign, contents, remains, results, trials
from helpers.disks import Disk, missing

LIMIT = 600
LONG = (*tiny.SMALL, "training.steps=200", "training.eval_every=20")
SWEEP = ("train", "-m", *LONG, "arms=uniform,in_batch", "seed=0,1", "baselines=false")
# {command: (function that reads the folder it writes, power cuts in all)}
COMMANDS = {
    "a run": (results, 100),
    "a sweep": (results, 60),
    "a fused sweep": (results, 40),
    "data prepare": (contents, 60),
    "export": (contents, 40),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


def words_of(name, folder):
    """Return the words of a command but the folder that it writes.

    Args:
      name: Of the command.
      folder: For the files that it reads.
    """
    if name == "data prepare":
        return ("data", "prepare", *long_log.write(folder / "files"), "--out")
    if name == "export":
        assert tiny.command("train", *tiny.SMALL, f"output={folder / 'made'}") == 0
        (run,) = folder.glob("made/simulator/*/")
        return ("export", str(run), "--out")
    return {
        "a run": ("train", *LONG, "training.checkpoint_every=10"),
        "a sweep": SWEEP,
        "a fused sweep": (*SWEEP, "hydra/launcher=fused"),
    }[name]


def is_cut(process, disk, seconds):
    """Cut the power after some seconds; return whether the process was running."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGSTOP)
        disk.cut_power()
        process.kill()
        process.wait(LIMIT)
        disk.start_again()
        return True
    return False


@pytest.mark.parametrize("name", COMMANDS)
def test_power_cuts_change_no_bit(name, tmp_path, tmp_path_factory):
    cache, rng = tmp_path_factory.getbasetemp() / "programs", np.random.default_rng(0)
    (read, full), words, log = (
        COMMANDS[name],
        words_of(name, tmp_path),
        tmp_path / "log",
    )

    def start(folder):
        out = [str(folder)] if words[-1] == "--out" else [f"output={folder}"]
        return tiny.start((*words, *out), cwd=tmp_path, cache=cache, log=log)

    assert start(tmp_path / "first").wait(LIMIT) == 0, log.read_text()
    begin = time.monotonic()
    assert start(tmp_path / "whole").wait(LIMIT) == 0, log.read_text()
    seconds, whole = time.monotonic() - begin, read(tmp_path / "whole")
    assert whole and read(tmp_path / "first") == whole
    cuts = ends = 0
    with Disk(tmp_path, 500) as disk, campaign(f"power cuts of {name}") as counts:
        while cuts < trials(full):
            folder, begun, ended = disk.folder / f"cut{ends}", cuts, False
            while not ended:
                process = start(folder)
                # The time grows, so that a machine that has become slower ends too.
                wait = rng.uniform(0, seconds * (1 + (cuts - begun) / 10))
                cut = is_cut(process, disk, wait)
                assert "Traceback" not in log.read_text(), log.read_text()
                assert cut or process.returncode == 0, log.read_text()
                cuts += cut
                # An export that is there is whole; it is not written again.
                ended = not cut or (name == "export" and folder.exists())
            assert read(folder) == whole and not remains(folder)
            disk.cut_power()  # after the end of the command
            disk.start_again()
            assert read(folder) == whole
            ends += 1
        counts |= {"cuts": cuts, "ends": ends}
