"""Histories, pooled in each way: paused runs and fused arms have the plain bits."""

import pytest
from helpers import tiny

CHOICES = {
    "mean": ("towers.history_table=shared",),
    "recency": ("towers.history_half_life=2",),
    "transformer": ("towers.sequence.layers=1", "towers.history_table=shared"),
    "attention": ("towers.history_features=[id,category,tags,price]",),
}


def records(output, *words):
    """Return the validations of the runs of two seeds, without times."""
    command = ("train", "-m", *tiny.SMALL, f"output={output}", "name=sweep")
    assert tiny.command(*command, "seed=0,1", "~hydra.callbacks.study", *words) == 0
    logs = {}
    for path in sorted((output / "sweep").glob("*/metrics.jsonl")):
        logs[path.parent.name] = tiny.read_lines(path)
        for record in logs[path.parent.name]:
            del record["seconds"]
    return logs


@pytest.mark.slow
@pytest.mark.parametrize("pooling", CHOICES)
def test_runs_go_on_and_stand_side_by_side(pooling, tmp_path):
    words = (
        "towers.query=[history]",
        "training.steps=20",
        f"towers.history_pooling={pooling}",
        *CHOICES[pooling],
    )
    plain = records(tmp_path / "plain", *words)
    assert len(plain) == 2 and all(len(log) == 2 for log in plain.values())
    losses = [record["loss"] for log in plain.values() for record in log]
    assert losses[1] < losses[0] and losses[3] < losses[2]
    fused = records(tmp_path / "fused", *words, "hydra/launcher=fused")
    assert fused == plain
    half = records(tmp_path / "half", *words, "pause=10")
    assert all(len(log) == 1 for log in half.values())
    assert records(tmp_path / "half", *words) == plain
