"""Fresh processes, in turn: their results, wall-clock seconds and peak memory."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

Result = dict[str, Any]
Task = Callable[[int], Result]  # round -> result; "error" holds why there is none
LONGEST = 3600.0  # seconds of a process
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
BENCHMARKS = Path(__file__).parents[1]


def process(
    words: Sequence[object],
    env: dict[str, str] | None = None,
    prints: bool = True,
    named: str = "",
) -> Result:
    """Return the output of a fresh process, with its seconds and peak memory.

    Args:
      words: its command line.
      env: variables beside those of this process; huge pages are among them always.
      prints: whether its last line of output is JSON.
      named: the key of what it prints, where that is not an object.

    Returns:
      The JSON object of the last line, `started` (by `time.time`), `wall` seconds and
      `peak` in GiB of its largest process; `error` in place of them if it failed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started, begin = time.time(), time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in words],
            stdout=out,
            stderr=err,
            env=os.environ | HUGE_PAGES | (env or {}),
        )
        peak = _wait(child)
        wall = time.perf_counter() - begin
        if child.returncode:
            return {"error": _reason(child.returncode, _text(err))}
        values = json.loads(_text(out).splitlines()[-1]) if prints else {}
    values = {named: values} if named else values
    return {**values, "started": started, "wall": wall, "peak": peak}


def own_job(job: Result, env: dict[str, str] | None = None) -> Result:
    """Return the result of a job of this package in a process of its own."""
    path = {"PYTHONPATH": str(BENCHMARKS)}
    words = [sys.executable, "-m", "bench.jobs", json.dumps(job)]
    return process(words, path | (env or {}))


def peer_job(python: Path, script: str, job: Result) -> Result:
    """Return the result of a script in `peers`, run in the environment of the peer."""
    words = [python, BENCHMARKS / "peers" / script, json.dumps(job)]
    return process(words)


def interleave(
    tasks: dict[str, Task], rounds: int
) -> tuple[dict[str, list[Result]], bool]:
    """Return the results of all tasks, round after round, each task once a round.

    Args:
      tasks: by name, in their order.
      rounds: number of rounds.

    Returns:
      The results of whole rounds, and whether Ctrl-C ended them.
    """
    results: dict[str, list[Result]] = {name: [] for name in tasks}
    try:
        for number in range(rounds):
            for name, task in tasks.items():
                begin = time.perf_counter()
                result = task(number)
                results[name].append(result)
                text = result.get("error", "done").splitlines()[-1][:60]
                seconds = time.perf_counter() - begin
                line = (
                    f"round {number + 1}/{rounds}  {name:48} {seconds:6.1f} s  {text}"
                )
                print(line, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        whole = min(len(each) for each in results.values())
        return {name: each[:whole] for name, each in results.items()}, True
    return results, False


def _wait(child: subprocess.Popen) -> float:
    """Wait for the end of a process, at most `LONGEST`, and return its peak in GiB."""
    timer = threading.Timer(LONGEST, child.kill)
    timer.start()
    try:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        timer.cancel()
        if child.returncode is None:
            child.kill()
    return usage.ru_maxrss / 2**20


def _text(file: IO[bytes]) -> str:
    """Return the content of a file from its begin."""
    file.seek(0)
    return file.read().decode(errors="replace")


def _reason(status: int, text: str) -> str:
    """Return why a process failed, in a line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"exit status {status}: {lines[-1] if lines else 'no message'}"
