"""Speed of training: `python benchmarks/training.py [path|scale|history] [--help]`.

path     the whole command `twotower train` on a log of N users and N items (default one
         million each): examples per second, peak memory, time to the first step.
scale    one process, programs in turn: a step at 4M items over one at 10k, with merged
         columns off, so that only the size of the tables differs.
history  one process, programs in turn: a query tower of the last 20 and 50 clicks
         against one of the user's id; 100,000 items, 15,000 users with 67 clicks each.
         CPU seconds are those of all threads; unlike the wall clock they hold on a
         machine with other work.

The work: id tables of dimension 64, in-batch softmax with logQ, Adagrad; users uniform,
clicks of items Zipf(1.05). Timings of shared machines are noisy: compare numbers of one
run only.
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
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from twotower_jax.config import from_dict
from twotower_jax.data.log import FunnelLog, Pairs, Split, Stage
from twotower_jax.run.loader import Loaded
from twotower_jax.run.problem import make_problem
from twotower_jax.training.step import run_steps

CLICKS = 1_000_000
# Items of the world of each measure.
SIZES = {"path": 1_000_000, "scale": 4_000_000, "history": 100_000}
READERS = 15_000  # users of the measure of histories


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


def path_command(
    log: Path, output: Path, batch: int, steps: int, *words: str
) -> list[str]:
    """Return the command line of a training on a log that `write_log` wrote.

    Args:
      log: the file.
      output: folder of the run.
      batch, steps: of the training.
      words: further settings.
    """
    return [
        *(sys.executable, "-m", "twotower_jax", "train", "data=table"),
        f"data.path={log}",
        *("data.columns.clicked=clicked", "data.columns.time=time"),
        *("data.split=temporal", "data.valid_share=0", "data.test_share=0.001"),
        *("towers=factors", "optimizer=adagrad", "loss.temperature=0.05"),
        *(f"training.batch_size={batch}", f"training.steps={steps}"),
        *("evaluation.k=[20]", f"output={output}", "name=benchmark"),
        *words,
    ]


def path_result(output: Path) -> dict[str, Any]:
    """Return the result of the run of that command."""
    (result,) = output.glob("benchmark/*/result.json")
    return json.loads(result.read_text())


def measure_path(options: argparse.Namespace) -> None:
    """Run the command in a process of its own and print its speed and memory."""
    with tempfile.TemporaryDirectory() as folder:
        log, place = Path(folder) / "log.parquet", Path(folder)
        write_log(log, options.size)
        merge = f"training.merge_columns={str(options.merge).lower()}"
        command = path_command(log, place, options.batch, options.steps, merge)
        env = dict(os.environ)
        if options.huge_pages:
            env["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        started = time.perf_counter()
        subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
        values = path_result(place)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f"{options.size:,} users and items, batch {options.batch}, merged columns "
        f"{'on' if options.merge else 'off'}: {values['examples_per_second']:,.0f} "
        f"examples/s over {values['steps']} steps, peak memory {peak:.2f} GiB, "
        f"whole command {wall:.0f} s"
    )


class Rate(NamedTuple):
    """Seconds per step of one dispatch, by the wall clock and of all threads."""

    wall: float
    cpu: float


class World:
    """Everything that one configuration needs to run its steps."""

    def __init__(
        self,
        data: Loaded,
        options: argparse.Namespace,
        others: dict[str, Any] | None = None,
        **towers: Any,
    ):
        training = {"batch_size": options.batch, "merge_columns": options.merge}
        keys = {"training": training, "loss": {"temperature": 0.05}, "towers": towers}
        self.problem = make_problem(from_dict(keys | (others or {})), data)
        self.problem.order.begin()
        self.state = self.problem.start()
        self.step = 0

    def run(self, steps: int) -> Rate:
        """Run steps in one dispatch and return seconds per step."""
        rows = self.problem.order.batches(self.step, steps)
        wall, cpu = time.perf_counter(), time.process_time()
        program, data = self.problem.program, self.problem.data
        self.state, losses = run_steps(program, data, self.state, rows, np.int32(steps))
        jax.block_until_ready(losses)
        self.step += steps
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Rate(wall / steps, cpu / steps)


def in_turn(worlds: dict[Any, World], turns: int, steps: int) -> dict[Any, np.ndarray]:
    """Return [turns, 2] seconds per step of each world, wall and CPU."""
    times: dict[Any, list[Rate]] = {name: [] for name in worlds}
    for turn in range(turns + 1):
        for name, world in worlds.items():
            seconds = world.run(steps)
            if turn:  # the first dispatch compiles
                times[name].append(seconds)
    return {name: np.array(rates) for name, rates in times.items()}


def measure_scale(options: argparse.Namespace) -> None:
    """Print the ratio of a step at 4M items to one at 10k, dispatches in turn."""
    worlds = {}
    for size in (10_000, options.size):
        data = loaded(*clicks(size), size, size)
        worlds[size] = World(data, options, query=("id",), candidate=("id",))
    times = {n: rates[:, 0] for n, rates in in_turn(worlds, options.turns, 8).items()}
    ratios = times[options.size] / times[10_000]
    for size, seconds in times.items():
        print(f"{size:,} items: {1e3 * np.median(seconds):.1f} ms a step (median)")
    low, high = np.quantile(ratios, [0.25, 0.75])
    print(
        f"{options.size:,} over 10,000: {np.median(ratios):.3f} "
        f"(quartiles {low:.3f} to {high:.3f})"
    )


def measure_history(options: argparse.Namespace) -> None:
    """Print the rates of towers of histories, and over that of the user's id."""
    user, item = clicks(options.size)
    data = loaded(user % READERS, item, READERS, options.size)
    worlds = {"id": World(data, options, query=("id",), candidate=("id",))}
    for pooling in options.pooling:
        for length in (20, 50):
            worlds[f"history of {length}, {pooling}"] = World(
                data,
                options,
                query=("history",),
                candidate=("id",),
                history_length=length,
                history_pooling=pooling,
                history_table=options.table,
            )
    times = in_turn(worlds, options.turns, options.steps)
    print(
        f"{options.size:,} items, batch {options.batch}, table {options.table}; "
        f"medians of {options.turns} turns of {options.steps} steps"
    )
    print(f"{'':24}{'examples/s':>12}{'over id':>9}{'per CPU s':>12}{'over id':>9}")
    for name, seconds in times.items():
        rates = np.median(options.batch / seconds, axis=0)
        ratios = np.median(times["id"] / seconds, axis=0)
        print(
            f"{name:24}{rates[0]:12,.0f}{ratios[0]:9.2f}{rates[1]:12,.0f}"
            f"{ratios[1]:9.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=list(SIZES), nargs="?", default="path")
    parser.add_argument("--size", type=int, help="items")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, help="path: 300; history, per turn: 4")
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--merge", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--huge-pages", action=argparse.BooleanOptionalAction)
    names = ("mean", "recency", "attention")
    parser.add_argument("--pooling", choices=names, nargs="+", default=["mean"])
    parser.add_argument("--table", choices=("own", "shared"), default="own")
    options = parser.parse_args()
    options.size = options.size or SIZES[options.what]
    options.steps = options.steps or (300 if options.what == "path" else 4)
    if options.merge is None:
        options.merge = options.what != "scale"
    measures = {
        "path": measure_path,
        "scale": measure_scale,
        "history": measure_history,
    }
    measures[options.what](options)


if __name__ == "__main__":
    main()
