"""Train the same problem on one device and on two, and compare (run by a test)."""

import sys
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.problems import as_loaded, small_problem, zipf_clicks
from twotower_jax.training.checkpoint import Checkpoints
from twotower_jax.training.loop import Hooks, fit
from twotower_jax.training.progress import TrainingProgress
from twotower_jax.training.schedule import Schedule


def train(folder: str, devices: int):
    """Return the state after 12 steps."""
    data = as_loaded(*zipf_clicks(30, 40, 400), 30, 40)
    problem = small_problem(
        data,
        training__devices=devices,
        negatives__easy__num=10,
        negatives__bank__size=32,
        negatives__bank__warmup=0,
    )
    schedule = Schedule(12, 4, 6, 6, 0, "recall@20")

    def progress(start):
        return TrainingProgress(Console(quiet=True), 12, start, 16, "recall@20")

    return fit(problem, schedule, Checkpoints(folder), Hooks(progress, print))[0]


def main(folder: str) -> None:
    """Compare every number of both states."""
    assert len(jax.devices()) == 2
    one, two = (train(f"{folder}/{number}", number) for number in (1, 2))
    for leaf in jax.tree.leaves(two):
        assert len(leaf.sharding.device_set) == 2
    for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(first, second, rtol=2e-4, atol=2e-5)
    again = train(f"{folder}/2", 2)
    for first, second in zip(jax.tree.leaves(two), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(first, second)
    print("equal on 1 and 2 devices")


if __name__ == "__main__":
    main(sys.argv[1])
