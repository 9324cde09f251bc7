"""Batches of 65,536 rows fit into 3 GB, whatever the query tower reads."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

ROWS, USERS, ITEMS, CLICKS = 2**16, 100_000, 100_000, 600_000
HISTORIES = ("towers.query=[id,history]", "towers.history_length=50")
SEQUENCES = (
    *("towers=sequence", "towers.query=[history]"),
    "towers.sequence.longer=newest",
)
TOWERS = {
    "layers": ("towers.hidden=[128,64]",),
    "histories": (*HISTORIES, "towers.hidden=[128,64]"),
    "attention": (*HISTORIES, "towers.history_pooling=attention"),
    "sequences": SEQUENCES,
    "resampled sequences": (*SEQUENCES, "positives=power"),
}
# Prints the largest memory of the command, in kB.
SCRIPT = """
import resource, sys
from twotower_jax.commands.train import train
status = train(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("tower", TOWERS)
def test_a_batch_of_65536_rows_needs_less_than_3_gb(tower, tmp_path):
    rng = np.random.default_rng(0)
    log = {
        "user": (USERS * rng.random(CLICKS) ** 3).astype(int),
        "item": (ITEMS * rng.random(CLICKS) ** 3).astype(int),
        "time": np.arange(CLICKS),
    }
    pl.DataFrame(log).write_parquet(tmp_path / "log.parquet")
    words = (
        *("data=table", "data.path=log.parquet", "data.columns.time=time"),
        *("towers.query=[id]", "towers.candidate=[id]", "towers.dim=64"),
        *("optimizer=adagrad", f"training.batch_size={ROWS}", "training.steps=2"),
        *("training.eval_every=2", "training.eval_queries=64", "evaluation.k=[20]"),
        *("data.valid_share=0.001", "data.test_share=0.001"),
        *TOWERS[tower],
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.rpartition("peak")[2]) < 3e6
    assert "2 steps in" in done.stdout
