"""`make bench`: the short form runs, and the ratios are those of its results."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
MEASURES = ("train", "batch", "dim", "history", "hard", "evaluate", "start", "command")
MEASURES += ("study", "sequences")


def bench(folder, *words):
    """Return the output and the JSON of a short benchmark."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "short", "--folder", folder, *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "benchmarks")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "bench.json").read_text())


def check(out, found):
    """Every ratio is finite or has the reason why there is none, in both outputs."""
    assert found["short"] and found["rounds"] == 1
    assert found["versions"]["jax"] and found["versions"]["twotower-jax"]
    assert found["machine"]["cores"] >= 1 and found["machine"]["processor"]
    for row in found["rows"]:
        assert f"{row['measure']} " in out and row["ratio"] in out
        assert row["goal"] is None, "sizes of the short form have no goals"
        if row["values"]:
            assert all(math.isfinite(x) and x > 0 for x in row["values"])
            assert row["median"] == median(row["values"]) and not row["reason"]
        else:
            assert row["median"] is None and row["reason"]
    assert "not measured" in out  # what needs a peer


@pytest.mark.slow
def test_a_ratio_of_steps_is_that_of_the_processes_in_the_json(tmp_path):
    out, found = bench(tmp_path, "--only", "train")
    check(out, found)
    tasks = found["results"]["train"]
    assert all(len(results) == found["rounds"] for results in tasks.values())
    first, last = (
        median(tasks[f"{name} rows, B 64, D 8 | every column"][0]["steps"])
        for name in ("500", "1k")
    )
    (row,) = [r for r in found["rows"] if r["ratio"] == "step, every column"]
    assert row["values"] == [last / first]
    assert all(value > 0 for value in tasks["floors"][0]["cpu"].values())


@pytest.mark.slow
def test_a_ratio_of_searches_is_that_of_the_processes_in_the_json(tmp_path):
    out, found = bench(tmp_path, "--only", "evaluate")
    check(out, found)
    searches = found["results"]["evaluate"]
    seconds = [
        searches[f"2k items | {who}"][0]["seconds"] for who in ("lax.top_k", "top_k")
    ]
    (row,) = [r for r in found["rows"] if r["ratio"] == "queries/s over lax.top_k"]
    assert row["values"] == [seconds[0] / seconds[1]]


def test_every_measure_runs(tmp_path):
    out, found = bench(tmp_path)
    check(out, found)
    names = {row["measure"] for row in found["rows"]}
    assert names == set(MEASURES)
    measured = {row["measure"] for row in found["rows"] if row["values"]}
    assert measured == set(MEASURES) - {"sequences"}  # it compares to a peer alone
