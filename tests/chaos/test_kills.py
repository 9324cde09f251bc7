"""Commands are killed at random moments, again and again, until they end."""

import signal
import time

import numpy as np
import pytest
from helpers import tiny
from helpers.chaos import campaign, remains, results, trials, wait_or_kill

LIMIT = 600
LONG = (*tiny.SMALL, "training.steps=200", "training.eval_every=20")
SWEEP = ("train", "-m", *LONG, "arms=uniform,in_batch", "seed=0,1", "baselines=false")
TUNE = "hydra.sweeper.tune={loss.temperature: '0.1,0.2'}"
# The words of a command, and its share of a thousand kills.
COMMANDS = {
    "a run": (("train", *LONG, "training.checkpoint_every=10"), 350),
    "a sweep": (SWEEP, 150),
    "a fused sweep": ((*SWEEP, "hydra/launcher=fused"), 100),
    "a sweep of processes": ((*SWEEP, "hydra/launcher=processes"), 50),
    "a selection": ((*SWEEP, "hydra/sweeper=select", TUNE), 50),
    "a selection by halving": (
        (
            *(*SWEEP, "hydra/sweeper=halving", TUNE),
            *("hydra.sweeper.rungs=[40,100]", "hydra.sweeper.eta=2"),
        ),
        50,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_kills_change_no_bit(name, tmp_path, tmp_path_factory):
    cache, rng = tmp_path_factory.getbasetemp() / "programs", np.random.default_rng(0)
    command, full = COMMANDS[name]

    def start(output):
        words = (*command, f"output={output}")
        return tiny.start(words, cwd=tmp_path, cache=cache, log=tmp_path / "log")

    assert start("first").wait(LIMIT) == 0, (tmp_path / "log").read_text()
    begin = time.monotonic()
    assert start("whole").wait(LIMIT) == 0, (tmp_path / "log").read_text()
    seconds, whole = time.monotonic() - begin, results(tmp_path / "whole")
    assert whole
    kills = ends = 0
    with campaign(f"kills of {name}") as counts:
        while kills < trials(full):
            output, ended = tmp_path / f"killed{ends}", False
            begun = kills
            while not ended:
                process = start(output)
                kills += wait_or_kill(process, rng, seconds, kills - begun)
                code = process.wait(LIMIT)
                text = (tmp_path / "log").read_text()
                assert "Traceback" not in text, text
                # SIGTERM is noted while a run trains; elsewhere it ends the process.
                ends_of = (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM)
                assert code in (0, *ends_of), (code, text)
                ended = code == 0
            assert results(output) == whole and not remains(output)
            ends += 1
        counts |= {"kills": kills, "ends": ends}
