"""Histories, pooled in each way: paused runs and fused arms have the plain bits."""

import pytest
from helpers import tiny

CHOICES = {
    "mean": ("towers.history_table=shared",),
    "recency": ("towers.history_half_life=2",),
    "transformer": ("towers.sequence.layers=1", "towers.history_table=shared"),
    "attention": ("towers.history_features=[id,category,tags,price]",),
}


def test_users_of_one_row_have_no_history_and_are_evaluated(tmp_path, capsys):
    """By time, no user of valid and test is one of training."""
    path = tmp_path / "log.csv"
    rows = [f"u{n},{n % 30},{n}" for n in range(400)]
    path.write_text("\n".join(["user,item,time", *rows]) + "\n")
    words = ("data=table", f"data.path={path}", "data.split=temporal", "name=one")
    words += ("data.columns.time=time", "training.batch_size=64", "training.steps=4")
    words += ("evaluation.k=[10,20]",)
    assert tiny.command("train", *words, f"output={tmp_path}") == 0
    shown = capsys.readouterr().out
    assert "40 users have no training positive; add features of users" in shown


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
