"""Numbers of trials of a campaign of faults, and a record of what it found.

The tests take a small share of the trials; `make chaos` sets CHAOS_SHARE=1, and
CHAOS_OUT to a file that gets a line of JSON for each campaign.
"""

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers import tiny


def trials(full: int) -> int:
    """Return the number of trials of a campaign that has ``full`` of them in all."""
    return max(2, round(full * float(os.environ.get("CHAOS_SHARE", "0.01"))))


def chosen(number: int, full: int) -> list[int]:
    """Return places below ``number``: all of them, or as many as there are trials."""
    take = min(number, trials(full))
    return sorted(np.random.default_rng(0).permutation(number)[:take].tolist())


@contextmanager
def campaign(name: str):
    """Record the counts of a campaign: a dictionary that the test fills."""
    counts: dict[str, float] = {}
    start = time.perf_counter()
    yield counts
    if out := os.environ.get("CHAOS_OUT"):
        seconds = round(time.perf_counter() - start)
        with Path(out).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"campaign": name, **counts, "seconds": seconds}))
            file.write("\n")


def results(output: Path) -> dict[str, dict]:
    """Return {run: its metrics}, those of trials on validation included."""
    return {
        str(path.parent.relative_to(output)): tiny.read_json(path)["metrics"]
        for path in sorted(output.rglob("result.json"))
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Return {file: bytes} of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def remains(folder: Path) -> list[Path]:
    """Return the locks and the temporary files that are left below a folder."""
    return [*folder.rglob(".*.lock"), *folder.rglob(".*.tmp")]


def wait_or_kill(process, rng, seconds, before=0) -> bool:
    """Wait for a random time up to some seconds; end a process that still runs.

    The time grows by a tenth with each kill before of the same command, so that it
    ends on a machine that has become slower. Return whether the process was ended.
    """
    try:
        process.wait(rng.uniform(0, seconds * (1 + before / 10)))
    except subprocess.TimeoutExpired:
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
        return True
    return False
