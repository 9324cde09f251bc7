"""Two or three processes at once on the same runs: the bits of a run alone.

CHAOS_MOUNTS=/mnt/a:/mnt/b names mounts of one shared file system: the processes of a
trial work in them in turn, as hosts do.
"""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny
from helpers.chaos import campaign, remains, results, trials

LIMIT = 600
LONG = (*tiny.SMALL, "training.steps=100", "training.eval_every=20")
SWEEP = ("train", "-m", *LONG, "arms=uniform,in_batch", "baselines=false")
FUSED = "hydra/launcher=fused"
# Commands of the processes of a trial, in turn.
COMMANDS = {
    "a run": [("train", *LONG)],
    "a sweep": [(*SWEEP, "seed=0,1")],
    "a fused sweep": [(*SWEEP, "seed=0,1", FUSED)],
    "two sweeps": [(*SWEEP, "seed=0,1"), (*SWEEP, "seed=1,2", FUSED)],
}


def places(folder):
    """Return the folders of the processes of a trial: one, or one in each mount."""
    if not (mounts := os.environ.get("CHAOS_MOUNTS")):
        return [folder]
    return [Path(mount, *folder.parts[-3:]) for mount in mounts.split(":")]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_processes_at_once_end_with_the_bits_of_one(name, tmp_path, tmp_path_factory):
    cache, rng = tmp_path_factory.getbasetemp() / "programs", np.random.default_rng(0)
    different = COMMANDS[name]

    def start(number, output, log):
        words = (*different[number % len(different)], f"output={output}")
        return tiny.start(words, cwd=tmp_path, cache=cache, log=tmp_path / log)

    for number in range(len(different)):
        assert start(number, "alone", "log").wait(LIMIT) == 0
    begin = time.monotonic()
    assert start(0, "timed", "log").wait(LIMIT) == 0
    seconds, alone = time.monotonic() - begin, results(tmp_path / "alone")
    ended = {0: 0, 3: 0}
    with campaign(f"at once on {name}") as counts:
        for trial in range(trials(20)):
            started, outputs = [], places(tmp_path / f"at{trial}")
            for number in range(2 + trial % 2):
                # Mostly together; else the later ones meet a run that is under way.
                time.sleep(rng.choice([0, rng.uniform(0, seconds)]))
                output = outputs[number % len(outputs)]
                started.append(start(number, output, f"{number}.log"))
            ends = [process.wait(LIMIT) for process in started]
            texts = [(tmp_path / f"{n}.log").read_text() for n in range(len(ends))]
            assert 0 in ends and set(ends) <= set(ended), texts
            assert "Traceback" not in "".join(texts), texts
            for output in outputs:
                assert results(output) == alone and not remains(output), texts
            for end in ends:
                ended[end] += 1
        counts |= {"processes": sum(ended.values()), "left as in use": ended[3]}
    assert ended[0] > 1
