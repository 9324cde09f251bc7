"""Seconds per epoch of a sequence tower: `python benchmarks/sequences.py [--help]`.

One process, arms in turn: a causal transformer of one layer and one head, dimension 64,
at most 50 items, dropout 0.2, Adam, and the softmax over 256 uniform negatives, shared
by a batch or drawn per row. With `--peer PYTHON`, the interpreter of an environment
with `rectools[torch]`, RecTools' SASRec of the same size and loss runs after them on
the same positives. Times are those of the fastest turn or batch. Without `--data` the
log is generated.
"""

import argparse
import json
import math
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from training import loaded

from twotower_jax.config import from_dict
from twotower_jax.run.loader import Loaded
from twotower_jax.run.problem import make_problem
from twotower_jax.training.problem import Problem
from twotower_jax.training.step import run_steps

PEER = Path(__file__).parent / "peers" / "rectools_sasrec.py"
UNIFORM = {"in_batch": False, "easy": {"num": 256}}
ARMS = {
    "256 negatives of a batch": UNIFORM,
    "256 negatives per row": UNIFORM | {"layout": "per_row"},
    "in-batch, user_positives": {"mask": "user_positives"},
    "in-batch": {},
}
DISPATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="lines of `user item item ...`")
    parser.add_argument("--batch", type=int, default=1024, help="rows of a step")
    parser.add_argument("--steps", type=int, default=24, help="steps per turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peer", help="python of an environment with rectools[torch]")
    parser.add_argument("--peer-batch", type=int, default=128, help="its sequences")
    parser.add_argument("--peer-batches", type=int, default=20)
    options = parser.parse_args()
    user, item = read(options.data) if options.data else generated()
    data = loaded(user, item, int(user.max()) + 1, int(item.max()) + 1)
    problems = {name: problem_of(data, ARMS[name], options.batch) for name in ARMS}
    rows = len(next(iter(problems.values())).data.item)
    print(f"{len(user):,} positives, {rows:,} rows, batches of {options.batch:,} rows")
    seconds = {name: [] for name in ARMS}
    stepped = {name: Steps(problem) for name, problem in problems.items()}
    for _ in range(options.turns):
        for name, steps in stepped.items():
            seconds[name].append(steps.run(options.steps) * rows / options.batch)
    for name, times in seconds.items():
        rate = rows / min(times)
        print(f"{name:28} {min(times):8.2f} s per epoch, {rate:9,.0f} rows/s")
    if options.peer:
        batches = math.ceil(len(np.unique(user)) / options.peer_batch)
        other = batches * min(peer(options, user, item))
        print(f"{'RecTools, 256 per row':28} {other:8.2f} s per epoch")
        for name, times in seconds.items():
            print(f"  {other / min(times):6.1f} times the seconds of: {name}")


class Steps:
    """A training that is run some steps at a time."""

    def __init__(self, problem: Problem):
        """Compile the steps."""
        self.problem, self.state, self.done = problem, problem.start(), 0
        self.run(DISPATCH)

    def run(self, steps: int) -> float:
        """Run steps and return the seconds of one."""
        begin, losses = time.perf_counter(), None
        for _ in range(steps // DISPATCH):
            rows = self.problem.order.batches(self.done, DISPATCH)
            self.state, losses = run_steps(
                self.problem.program,
                self.problem.data,
                self.state,
                rows,
                np.int32(DISPATCH),
            )
            self.done += DISPATCH
        assert losses is not None and np.isfinite(np.asarray(losses)).all()
        return (time.perf_counter() - begin) / (steps // DISPATCH * DISPATCH)


def problem_of(data: Loaded, negatives: dict, batch: int) -> Problem:
    """Return the training problem of an arm."""
    towers = {
        "query": ["history"],
        "candidate": ["id"],
        "history_pooling": "transformer",
        "history_length": 50,
        "history_table": "shared",
        "sequence": {"layers": 1, "heads": 1, "dropout": 0.2},
    }
    values = {
        "data": {"split": "leave_last_out"},
        "towers": towers,
        "negatives": negatives,
        "training": {"batch_size": batch},
    }
    return make_problem(from_dict(values), data)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return users and items of a file without the last two items of each user."""
    user, item = [], []
    for number, line in enumerate(path.read_text().splitlines()):
        items = line.split()[1:-2]
        user += [number] * len(items)
        item += items
    _, codes = np.unique(item, return_inverse=True)
    return np.array(user), codes


def generated() -> tuple[np.ndarray, np.ndarray]:
    """Return sequences of 20,000 users over 12,000 items, of six items on average."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(20_000), 2 + rng.geometric(0.25, 20_000))
    weights = 1 / np.arange(1, 12_001) ** 0.7
    return user, rng.choice(12_000, len(user), p=weights / weights.sum())


def peer(
    options: argparse.Namespace, user: np.ndarray, item: np.ndarray
) -> list[float]:
    """Return the seconds of epochs of the peer."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "positives.npz"
        np.savez(file, user=user, item=item)
        words = [options.peer, PEER, file, options.peer_batch, options.peer_batches]
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
