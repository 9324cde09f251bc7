"""Runs side by side: `python benchmarks/fused.py [seeds|study] [--help]`.

seeds  one process: 8 seeds at batch 256 on a log of 943 users, 1,682 items and 100,000
       clicks (Zipf), one after the other and side by side; whole runs, with validation,
       checkpoints and files.
study  `experiment=lecture/base`, eight arms x three seeds: a command for each run, one
       after the other, and one sweep with the launcher, which also writes the report.
       Each side begins with an empty cache of compiled programs.

Both are timed in turn, pair after pair; what counts is the ratio within a pair. Timings
of shared machines are noisy: the load of the machine is printed with each pair.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from bench.settings import WHOLE

from twotower_jax.config import Config, from_dict
from twotower_jax.run import run
from twotower_jax.sweeps.runner import cores, run_many

USERS, ITEMS, CLICKS = 943, 1682, 100_000
ARMS = (
    *("in_batch_logq", "in_batch", "mixed_slots", "half_hard", "uniform"),
    *("slots/uniform", "slots/exposed", "downsample_hot"),
)


def write_log(path: Path) -> None:
    """Write as many clicks for each user, on distinct items drawn by Zipf's law."""
    rng = np.random.default_rng(0)
    each = CLICKS // USERS
    # The largest of log weight + Gumbel are draws without replacement.
    scores = rng.gumbel(size=(USERS, ITEMS)) - np.log(np.arange(1, ITEMS + 1))
    item = np.argsort(-scores, axis=1)[:, :each].ravel()
    user = np.repeat(np.arange(USERS), each)
    table = pl.DataFrame({"user": user, "item": item, "time": np.arange(len(item))})
    table.write_parquet(path)


def configs(log: Path, output: Path, options: argparse.Namespace) -> list[Config]:
    """Return the runs of the seeds."""
    columns = {"time": "time"}
    data = {"source": "table", "path": str(log), "columns": columns, "test_share": 0.1}
    training = {"batch_size": 256, "epochs": options.epochs}
    return [
        from_dict(
            {"output": str(output), "data": data, "training": training, "seed": seed}
        )
        for seed in range(options.seeds)
    ]


def side_by_side(runs: Sequence[Config]) -> list[dict]:
    """Return the results of runs in threads."""
    return [outcome.get() for outcome in run_many(runs, command="benchmark")]


def in_turn(runs: Sequence[Config]) -> list[dict]:
    """Return the results of runs one after the other."""
    return [run(config) for config in runs]


def timed(function: Callable[[], object]) -> tuple[float, object]:
    """Return seconds and result of a function."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def compare(options: argparse.Namespace, pair: Callable[[int], tuple[float, float]]):
    """Time pairs and print each ratio and their median."""
    ratios = []
    for number in range(options.pairs):
        apart, together = pair(number)
        ratios.append(apart / together)
        print(
            f"pair {number}: one after the other {apart:.1f} s, side by side "
            f"{together:.1f} s, ratio {ratios[-1]:.2f}, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    low, high = min(ratios), max(ratios)
    print(
        f"median ratio {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}, "
        f"{options.pairs} pairs, {cores()} cores)"
    )


def seeds(options: argparse.Namespace, folder: Path) -> None:
    """Compare seeds in one process."""
    log = folder / "clicks.parquet"
    write_log(log)
    run(configs(log, folder / "warm", options)[0])  # compiles

    def pair(number: int) -> tuple[float, float]:
        outputs = (folder / f"turn{number}", folder / f"side{number}")
        first, second = (configs(log, output, options) for output in outputs)
        apart, alone = timed(lambda: in_turn(first))
        together, fused = timed(lambda: side_by_side(second))
        same = [a["metrics"] == b["metrics"] for a, b in zip(alone, fused, strict=True)]
        assert all(same), "not the same bits"
        return apart, together

    compare(options, pair)


def command(folder: Path, cache: str, *words: str) -> None:
    """Run a command line in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "twotower_jax", "train", *words],
        cwd=folder,
        env=os.environ | {"TWOTOWER_CACHE": str(folder / cache)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def study_alone(
    folder: Path, output: str, arms: Sequence[str], seeds: Sequence[str], *words: str
) -> None:
    """Run the study as one command per run, one after the other.

    Args:
      folder: of all runs and of the cache of compiled programs.
      output: folder of these runs in it.
      arms, seeds: of which each pair is a run.
      words: further settings.
    """
    for arm, seed in itertools.product(arms, seeds):
        run_words = ("hydra.mode=RUN", f"arms={arm}", f"seed={seed}")
        words_all = ("experiment=lecture/base", *words, *run_words, f"output={output}")
        command(folder, f"{output}-cache", *words_all)


def study_fused(
    folder: Path, output: str, arms: Sequence[str], seeds: Sequence[str], *words: str
) -> None:
    """Run the study as one sweep with its report; arguments of `study_alone`."""
    swept = (f"arms={','.join(arms)}", f"seed={','.join(seeds)}")
    launcher = ("hydra/launcher=fused", "hydra.mode=MULTIRUN")
    words_all = ("experiment=lecture/base", *words, *launcher, *swept)
    command(folder, f"{output}-cache", *words_all, f"output={output}")


def study(options: argparse.Namespace, folder: Path) -> None:
    """Compare the study with a command for each of its runs."""
    arms, seeds = ARMS, ("0", "1", "2")
    words = (*WHOLE, f"training.epochs={options.epochs}")
    print(f"{len(arms) * len(seeds)} runs", flush=True)

    def pair(number: int) -> tuple[float, float]:
        given = (arms, seeds, *words)
        alone, _ = timed(lambda: study_alone(folder, f"a{number}", *given))
        return alone, timed(lambda: study_fused(folder, f"b{number}", *given))[0]

    compare(options, pair)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("seeds", "study"), default="seeds")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"seeds": seeds, "study": study}[options.what](options, Path(folder))


if __name__ == "__main__":
    main()
