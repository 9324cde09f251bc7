"""Hundreds of runs in one process: memory, open files and threads stay as they are."""

import contextlib
import gc
import io
import os
import resource
import shutil
import threading
import time
from pathlib import Path
from statistics import median

import pytest
from helpers import tiny
from helpers.chaos import campaign, trials

from twotower_jax.run import run

WORDS = ("training.steps=4", "training.eval_every=2")
# Seeds and temperatures differ, and the programs are compiled once.
PAGE = resource.getpagesize()


def held():
    """Return the memory in MB, open files and threads of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = len(os.listdir("/proc/self/fd"))
    return pages * PAGE / 1e6, files, threading.active_count()


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(),
    reason="Linux alone has /proc",
)
def test_many_runs_leave_nothing_in_the_process(tmp_path):
    number = max(10, trials(500))
    seconds, found = [], {}
    with campaign("many runs in one process") as counts:
        for place in range(number):
            begin = time.perf_counter()
            seed = (f"seed={place}", f"loss.temperature={0.1 + place / 1e4}")
            config = tiny.make_config(tmp_path / "outputs", *WORDS, *seed)
            with contextlib.redirect_stdout(io.StringIO()):
                result = run(config)
            assert result["metrics"]["test"]["recall@20"] > 0
            seconds.append(time.perf_counter() - begin)
            shutil.rmtree(tmp_path / "outputs")
            if place in (number // 5, number - 1):
                found[place] = held()
        first, last = found[number // 5], found[number - 1]
        tenth = max(1, number // 10)
        early, late = seconds[number // 5 :][:tenth], seconds[-tenth:]
        counts |= {"trials": number, "MB at a fifth": round(first[0])}
        counts |= {"MB at the end": round(last[0]), "files": last[1]}
        # Recorded and not asserted: the time depends on other work of the machine.
        ratio = round(median(late) / median(early), 2)
        counts |= {"threads": last[2], "last tenth to first": ratio}
    assert last[0] <= 1.05 * first[0] and last[1:] == first[1:], found
