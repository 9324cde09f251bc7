"""Speed of training: `python benchmarks/training.py [path|scale] [--help]`.

path   the whole command `twotower train` on a log of N users and N items (default one
       million each): examples per second, peak memory, time to the first step.
scale  one process, programs in turn: a step at 4M items over one at 10k, with merged
       columns off, so that only the size of the tables differs.

The work: id tables of dimension 64, MLP 64-128-64 on each side, in-batch softmax with
logQ, Adagrad; users uniform, clicks of items Zipf(1.05). Timings of shared machines are
noisy: compare numbers of one run only.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import polars as pl

from twotower_jax.config import from_dict
from twotower_jax.data.log import FunnelLog, Pairs, Split, Stage
from twotower_jax.run.inputs import Loaded
from twotower_jax.run.problem import make_problem
from twotower_jax.training.step import run_steps

CLICKS = 1_000_000


def clicks(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return users and items [CLICKS] int32 of a world of this size."""
    rng = np.random.default_rng(size)
    weights = np.arange(1, size + 1) ** -1.05
    rank = np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(CLICKS))
    item = rng.permutation(size)[rank.clip(0, size - 1)]
    return rng.integers(0, size, CLICKS).astype(np.int32), item.astype(np.int32)


def loaded(
    user: np.ndarray, item: np.ndarray, users: int, items: int, pool: int = 0
) -> Loaded:
    """Return data whose training positives are these clicks.

    With ``pool``, each click is a request of its own in which as many items, uniform,
    were ranked and not shown.
    """
    request = np.arange(len(user))
    ranked = np.random.default_rng(0).integers(0, items, len(user) * pool)
    stage = np.repeat([Stage.CLICKED, Stage.RANKED], [len(user), len(ranked)])
    log = FunnelLog(
        np.concatenate([user, np.repeat(user, pool)]),
        np.concatenate([item, ranked.astype(np.int32)]),
        stage.astype(np.int8),
        pl.Series(np.arange(users)),
        pl.Series(np.arange(items)),
        request=np.concatenate([request, np.repeat(request, pool)]),
    )
    none = Pairs(user[:0], item[:0])
    split = Split(Pairs(user, item, None, request), none, none)
    return Loaded(log, split, np.bincount(item, minlength=items), "benchmark")


def write_log(path: Path, size: int) -> None:
    """Write a log in which every user and every item occurs, clicked or exposed."""
    user, item = clicks(size)
    everyone = np.arange(size, dtype=np.int32)
    pl.DataFrame(
        {
            "user": np.concatenate([user, everyone]),
            "item": np.concatenate([item, everyone]),
            "clicked": np.repeat(np.array([1, 0], np.int8), [CLICKS, size]),
            "time": np.concatenate([np.arange(CLICKS), np.zeros(size, int)]),
        }
    ).write_parquet(path)


def measure_path(options: argparse.Namespace) -> None:
    """Run the command in a process of its own and print its speed and memory."""
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log.parquet"
        write_log(log, options.size)
        command = [
            *(sys.executable, "-m", "twotower_jax", "train", "data=table"),
            f"data.path={log}",
            *("data.columns.clicked=clicked", "data.columns.time=time"),
            *("data.split=temporal", "data.valid_share=0", "data.test_share=0.001"),
            *("towers=factors", "optimizer=adagrad", "loss.temperature=0.05"),
            *(
                f"training.batch_size={options.batch}",
                f"training.steps={options.steps}",
            ),
            f"training.merge_columns={str(options.merge).lower()}",
            *("evaluation.k=[20]", f"output={place}", "name=benchmark"),
        ]
        env = dict(os.environ)
        if options.huge_pages:
            env["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        started = time.perf_counter()
        subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
        (result,) = Path(place).glob("benchmark/*/result.json")
        values = json.loads(result.read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f"{options.size:,} users and items, batch {options.batch}, merged columns "
        f"{'on' if options.merge else 'off'}: {values['examples_per_second']:,.0f} "
        f"examples/s over {values['steps']} steps, peak memory {peak:.2f} GiB, "
        f"whole command {wall:.0f} s"
    )


class World:
    """Everything that one size needs to run its steps."""

    def __init__(self, size: int, batch: int, merge: bool):
        user, item = clicks(size)
        config = from_dict(
            {
                "training": {"batch_size": batch, "merge_columns": merge},
                "loss": {"temperature": 0.05},
            }
        )
        self.problem = make_problem(config, loaded(user, item, size, size))
        self.state = self.problem.start()
        self.step = 0

    def run(self, steps: int) -> float:
        """Run steps in one dispatch and return seconds per step."""
        rows = self.problem.order.batches(self.step, steps)
        started = time.perf_counter()
        program, data = self.problem.program, self.problem.data
        self.state, losses = run_steps(program, data, self.state, rows, np.int32(steps))
        jax.block_until_ready(losses)
        self.step += steps
        return (time.perf_counter() - started) / steps


def measure_scale(options: argparse.Namespace) -> None:
    """Print the ratio of a step at 4M items to one at 10k, dispatches in turn."""
    worlds = {n: World(n, options.batch, options.merge) for n in (10_000, 4_000_000)}
    times: dict[int, list[float]] = {n: [] for n in worlds}
    for turn in range(options.turns + 1):
        for size, world in worlds.items():
            seconds = world.run(8)
            if turn:
                times[size].append(seconds)
    ratios = np.array(times[4_000_000]) / np.array(times[10_000])
    for size, seconds in times.items():
        print(f"{size:,} items: {1e3 * np.median(seconds):.1f} ms a step (median)")
    low, high = np.quantile(ratios, [0.25, 0.75])
    print(f"4M over 10k: {np.median(ratios):.3f} (quartiles {low:.3f} to {high:.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["path", "scale"], nargs="?", default="path")
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--merge", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--huge-pages", action=argparse.BooleanOptionalAction)
    options = parser.parse_args()
    if options.merge is None:
        options.merge = options.what == "path"
    {"path": measure_path, "scale": measure_scale}[options.what](options)


if __name__ == "__main__":
    main()
