"""Kills of export, report and advise at random moments, until each ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import tiny
from helpers.chaos import campaign, remains, trials, wait_or_kill

LIMIT = 600
ENDS = (0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM)
WORDS = (
    *tiny.WORLD,
    *("towers.dim=8", "towers=factors", "training.batch_size=256", "training.steps=40"),
    *("training.eval_every=10", "training.min_steps=0", "evaluation.k=[20]"),
    *("optimizer.learning_rate=0.03", "loss.temperature=0.2", "advise.minutes=60"),
)
# Two kinds of samples and one baseline; time enough for each, so that the choice does
# not depend on the speed.
SCRIPT = """
import sys
from twotower_jax.advice import space, stages, tuning
from twotower_jax.cli import main

baseline_arms = space.baseline_arms
space.SAMPLES, space.HARD = ("in_batch", "uniform"), ()
tuning.CONFIRM_SEEDS, tuning.ROUNDS = (101,), 0
stages.baseline_arms = lambda *given: baseline_arms(*given)[:1]
main(sys.argv[1:])
"""
CHOSEN = ("choice", "metrics", "arms", "baselines", "run")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The folder of a finished sweep, in a folder of its own."""
    output = tmp_path_factory.mktemp("sweep")
    words = ("train", "-m", *tiny.SMALL, "arms=uniform,in_batch", "seed=0,1")
    assert tiny.command(*words, f"output={output}") == 0
    return output / "simulator"


def words_of(name, sweep, output):
    """Return the words of a command that writes a folder."""
    if name == "export":
        (run, *_) = sorted(sweep.glob("*/result.json"))
        return ("export", str(run.parent), "--out", str(output))
    if name == "report":
        return ("report", str(sweep), "--out", str(output))
    return ("advise", *WORDS, f"output={output}")


def written(name, output) -> dict[str, Any]:
    """Return what a command has written: {file: bytes}, or the choice of an advice."""
    if name == "advise":
        path = output / "advice" / "advice.json"
        found = tiny.read_json(path) if path.exists() else {}
        # The folder of the test of the chosen arm depends on that of the advice.
        run = Path(found.get("run") or "")
        return {key: found.get(key) for key in CHOSEN} | {"run": run.name}
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and not path.name.endswith((".tmp", ".lock"))
    }


def check_part(name, output, whole: dict[str, Any]):
    """Assert that what a killed command left is whole, file by file."""
    if name == "export":
        assert not output.exists() or written(name, output) == whole
    elif name == "report":
        for file, content in written(name, output).items():
            if file == "objective.json":  # a card more with each arm
                cards = json.loads(whole[file])
                assert cards | json.loads(content) == cards
            else:
                assert content == whole[file], file
    else:
        written(name, output)  # raises where advice.json is not whole


@pytest.mark.slow
@pytest.mark.parametrize("name, full", [("export", 75), ("report", 75), ("advise", 50)])
def test_kills_change_nothing_that_is_written(
    name, full, sweep, tmp_path, tmp_path_factory
):
    rng, log = np.random.default_rng(0), tmp_path / "log"
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.getbasetemp() / "programs")
    }
    (tmp_path / "script.py").write_text(SCRIPT)

    def start(output):
        words = words_of(name, sweep, output)
        argv = [sys.executable, str(tmp_path / "script.py"), *words]
        with log.open("wb") as file:
            return subprocess.Popen(
                argv, cwd=tmp_path, env=os.environ | cache, stdout=file, stderr=file
            )

    assert start(tmp_path / "first" / "out").wait(LIMIT) == 0, log.read_text()
    begin = time.monotonic()
    assert start(tmp_path / "whole" / "out").wait(LIMIT) == 0, log.read_text()
    seconds = time.monotonic() - begin
    whole = written(name, tmp_path / "whole" / "out")
    assert whole == written(name, tmp_path / "first" / "out") and any(whole.values())
    kills = ends = 0
    with campaign(f"kills of {name}") as counts:
        while kills < trials(full):
            output, ended = tmp_path / f"killed{ends}" / "out", False
            begun = kills
            while not ended:
                process = start(output)
                kills += wait_or_kill(process, rng, seconds, kills - begun)
                code = process.wait(LIMIT)
                assert code in ENDS and "Traceback" not in log.read_text(), (
                    code,
                    log.read_text(),
                )
                check_part(name, output, whole)
                # An export that is there is whole; the same command refuses to
                # write it again.
                ended = code == 0 or (name == "export" and output.exists())
            assert written(name, output) == whole and not remains(output.parent)
            ends += 1
        counts |= {"kills": kills, "ends": ends}
