"""Calls of the C library that write fail, those of Orbax and polars included.

One call fails, or all from one on, as on a full disk; then the command ends with one
message, and the same command ends with the same result.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.chaos import campaign, trials

TESTS = Path(__file__).parents[1]
SOURCE = TESTS / "helpers" / "failing_calls.c"
SCRIPT = TESTS / "helpers" / "failing_calls.py"
LIMIT = 3600


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and cc, which builds helpers/failing_calls.c")
    path = tmp_path_factory.mktemp("library") / "failing_calls.so"
    words = ("-shared", "-fPIC", "-O1", "-o", str(path), str(SOURCE), "-ldl")
    subprocess.run([compiler, *words], check=True)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, full", [("train", 600), ("export", 60), ("report", 150), ("prepare", 150)]
)
def test_a_failed_call_loses_nothing(name, full, library, tmp_path):
    env = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(TESTS)}
    words = [sys.executable, str(SCRIPT), name, str(tmp_path), str(trials(full))]
    with campaign(f"failed calls of {name}") as counts:
        done = subprocess.run(
            words, env=env, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        assert done.returncode == 0, done.stderr
        first, *found = [json.loads(line) for line in done.stdout.splitlines()]
        for one in found:
            assert one["same"], one
            assert one["status"] in (0, 1, 2) and "Traceback" not in one["said"], one
            assert one["said"].count("error: ") == (one["status"] > 0), one
        ended = sum(one["status"] > 0 for one in found)
        counts |= {"calls": first["calls"], "trials": len(found)}
        counts |= {"ended with a message": ended, "went on": len(found) - ended}
    assert first["calls"] > 20 and ended
