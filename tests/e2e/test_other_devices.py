"""An interrupted training goes on with other devices by the same command."""

import numpy as np
import pytest
from helpers import devices, tiny
from helpers.joined import outcome
from helpers.quick import quick

SHORT = ("training.steps=20",)
TABLE = ("training.mesh.table=4",)
BOTH = ("training.mesh.data=2", "training.mesh.table=2")
# Samplers with a state that lies on the mesh.
CASES = {
    "in-batch": (),
    "adam": ("optimizer=adam",),
    "bank and stream": (
        *("negatives.bank.size=512", "loss.logq.correct=all"),
        "loss.logq.frequency=streaming",
    ),
    "mined": (
        *("negatives.hard.num=4", "negatives/hard=mined"),
        *("negatives.hard.mined.range_min=5", "negatives.hard.mined.range_max=40"),
        *("negatives.hard.mined.warmup=0.2", "negatives.hard.mined.every=0.2"),
    ),
    "at k": ("loss=softmax_at_k", "loss.at_k.every=0.2", "loss.at_k.sampled=100"),
}


def train(folder, *words):
    """Train in a process with four devices; return what it prints."""
    folder.mkdir(exist_ok=True)
    words = ("-m", "twotower_jax", "train", *tiny.SMALL, *SHORT, *words)
    return devices.printed(4, *words, cwd=folder)


def only_run(folder):
    (path,) = folder.glob("outputs/*/*/config.yaml")
    return path.parent


@pytest.mark.parametrize("case", quick(CASES, ("in-batch",)))
def test_a_training_that_changes_its_mesh_ends_as_one_that_did_not(case, tmp_path):
    words, parts = CASES[case], tmp_path / "parts"
    train(parts, *words, *TABLE, "pause=10")
    run = only_run(parts)
    before = tiny.read_lines(run / "metrics.jsonl")
    printed = train(parts, *words, *BOTH)
    assert "resuming at step 10" in printed
    assert "were made with mesh [1, 4], now [2, 2]" in printed
    assert only_run(parts) == run  # the mesh is no part of its name
    train(tmp_path / "whole", *words, *BOTH)
    one, two = outcome(parts / "outputs"), outcome(tmp_path / "whole" / "outputs")
    assert [line["step"] for line in one[2]] == [line["step"] for line in two[2]]
    for mine, other in zip(one[2], two[2], strict=True):
        np.testing.assert_allclose(mine["loss"], other["loss"], rtol=2e-5)
    # Items whose scores differ by a rounding may change places.
    assert one[0] == two[0] or case == "mined"
    # The steps before are those of the first mesh.
    assert tiny.read_lines(run / "metrics.jsonl")[:1] == before
    earlier = tiny.read_json(run / "manifest.json")["earlier"]
    assert [part["mesh"] for part in earlier] == [[1, 4]]
    assert "finished before" in train(parts, *words, *TABLE)
