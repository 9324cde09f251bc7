"""The cost of sampling: `python benchmarks/sampling.py [--items N] [--users N]`.

For each choice of samples, in one process and in turn: the time of a whole training
step, the time of its draws alone, and the share of the draws; for the masks the step
relative to the one without. The work: id tables of dimension 64, MLP 64-128-64 on each
side, batch 4096, Adagrad; users uniform, clicks of items Zipf(1.05). Compare numbers of
one run only.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from training import clicks, loaded

from twotower_jax.config import from_dict
from twotower_jax.run.problem import make_problem
from twotower_jax.training.problem import Problem
from twotower_jax.training.sources import draw
from twotower_jax.training.step import run_steps

EASY = {"in_batch": False, "easy": {"sampler": "popularity", "num": 4096}}
ARMS = {
    "in-batch": {},
    "in-batch, user_positives": {"mask": "user_positives"},
    "popularity, 4096 shared": EASY,
    "mixed, 4096 uniform": {"easy": {"sampler": "uniform", "num": 4096}},
    "popularity, 8 a row": {
        "in_batch": False,
        "layout": "per_row",
        "easy": {"sampler": "popularity", "num": 8},
    },
    "in-batch + 4 hard of the log": {"hard": {"num": 4, "stages": ["ranked"]}},
    "half hard, 4 + 4 a row": {
        "in_batch": False,
        "layout": "per_row",
        "hard_ratio": 0.5,
        "easy": {"num": 4},
        "hard": {"num": 4, "stages": ["ranked"], "log_q": "easy"},
    },
    "in-batch + bank of 8192": {"bank": {"size": 8192, "warmup": 0}},
}


class Arm:
    """One choice of negatives, ready to run."""

    def __init__(self, data, negatives: dict, frequency: str = "counts"):
        config = from_dict(
            {
                "training": {"batch_size": 4096},
                "negatives": negatives,
                "loss": {"temperature": 0.05, "logq": {"frequency": frequency}},
            }
        )
        self.problem: Problem = make_problem(config, data)
        self.state, self.step = self.problem.start(), 0

        @jax.jit
        def draws(program, data, state, rows):
            """Draw for batches [K, B] in one dispatch; sums keep all of it alive."""

            def one(total, row):
                drawn = draw(program, data, state, data.batch(row))
                parts = [leaf.sum() for leaf in jax.tree.leaves(drawn)]
                return total + sum(part.astype(jnp.float32) for part in parts), None

            return jax.lax.scan(one, jnp.float32(0), rows)[0]

        self.draw = draws

    def run(self, steps: int) -> float:
        """Run steps in one dispatch and return seconds a step."""
        rows = self.problem.order.batches(self.step, steps)
        started = time.perf_counter()
        program, data = self.problem.program, self.problem.data
        self.state, losses = run_steps(program, data, self.state, rows, np.int32(steps))
        jax.block_until_ready(losses)
        self.step += steps
        return (time.perf_counter() - started) / steps

    def draw_only(self, steps: int) -> float:
        """Draw the negatives of some batches and return seconds a batch."""
        rows = jnp.asarray(self.problem.order.batches(self.step, steps))
        started = time.perf_counter()
        program, data = self.problem.program, self.problem.data
        jax.block_until_ready(self.draw(program, data, self.state, rows))
        return (time.perf_counter() - started) / steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=30_000)
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_args()
    user, item = clicks(options.items)
    data = loaded(user % options.users, item, options.users, options.items, pool=10)
    arms = {name: Arm(data, negatives) for name, negatives in ARMS.items()}
    arms["in-batch, streaming log q"] = Arm(data, {}, "streaming")
    steps = {name: [] for name in arms}
    draws = {name: [] for name in arms}
    for turn in range(options.turns + 1):
        for name, arm in arms.items():
            step, drawn = arm.run(4), arm.draw_only(4)
            if turn:
                steps[name].append(step)
                draws[name].append(drawn)
    base = np.array(steps["in-batch"])
    print(f"{options.users:,} users, {options.items:,} items, batch 4096; medians")
    print(f"{'':30}{'step':>9}{'draws':>9}{'share':>8}{'over in-batch':>15}")
    for name in arms:
        step, drawn = np.array(steps[name]), np.array(draws[name])
        print(
            f"{name:30}{1e3 * np.median(step):6.1f} ms{1e3 * np.median(drawn):6.2f} ms"
            f"{np.median(drawn / step):8.1%}{np.median(step / base):15.2f}"
        )


if __name__ == "__main__":
    main()
