"""Examples/s by where the positives lie: `python benchmarks/feed.py FOLDER [--help]`.

One process, the arms in turn, a dispatch of eight steps at a time: positives on the
device in a shuffled order, and on the host in an order of blocks, read by memory maps
from a folder of `twotower data prepare`. The ratio is the median over the turns of the
time on the device by that on the host of the same turn. The time of a dispatch begins
before its rows are drawn.
"""

import argparse
import statistics
import time

import jax
import numpy as np

from twotower_jax.run.loader import load_data
from twotower_jax.run.problem import make_problem
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.training.mesh import DeviceFeed, HostFeed
from twotower_jax.training.step import run_steps

ARMS = {
    "device, shuffled": ("training.feed=device", "training.order=shuffled"),
    "host, blocks": ("training.feed=host", "training.order=blocks"),
}
WARM = 2  # dispatches that are not timed


class Steps:
    """A training that goes on a dispatch at a time."""

    def __init__(self, words: list[str]):
        """Compose, load and make the problem."""
        config = compose_config(words)
        data = load_data(config)
        self.problem, self.number = make_problem(config, data), len(data.split.train)
        mesh = self.problem.layout().mesh
        kind = HostFeed if self.problem.on_host else DeviceFeed
        self.feed, self.state = kind(mesh, self.problem.data), self.problem.start()
        self.step, self.size = 0, self.problem.schedule.steps_per_dispatch

    def run(self, dispatches: int) -> float:
        """Return the seconds of some dispatches, one always in flight."""
        begun, losses = time.perf_counter(), None
        for _ in range(dispatches):
            rows = self.problem.order.batches(self.step, self.size)
            data, placed = self.feed(rows)
            before = losses
            self.state, losses = run_steps(
                self.problem.program, data, self.state, placed, np.int32(self.size)
            )
            self.step += self.size
            if before is not None:
                jax.block_until_ready(before)
        jax.block_until_ready(losses)
        return time.perf_counter() - begun


def main() -> None:
    """Print the rates and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="of twotower data prepare")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--dispatches", type=int, default=4, help="of a turn")
    parser.add_argument("words", nargs="*", metavar="key=value")
    options = parser.parse_args()
    words = ["data=prepared", f"data.path={options.folder}", *options.words]
    arms = {name: Steps([*words, *more]) for name, more in ARMS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(-1, options.turns):
        for name, steps in arms.items():
            spent = steps.run(WARM if turn < 0 else options.dispatches)
            if turn >= 0:
                seconds[name].append(spent)
    first = next(iter(arms.values()))
    batch = first.problem.order.batches(0, 1).shape[1]
    examples = options.dispatches * first.size * batch
    print(f"{first.number:,} positives, batches of {batch:,}")
    for name, each in seconds.items():
        print(f"{name}: {examples / statistics.median(each):,.0f} examples/s")
    device, host = seconds.values()
    ratios = [one / other for one, other in zip(device, host, strict=True)]
    print(f"host by device: {statistics.median(ratios):.2f} (of {len(ratios)} turns)")


if __name__ == "__main__":
    main()
