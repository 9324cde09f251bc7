"""Predicted against measured speed of steps: `python benchmarks/plan.py [--turns N]`.

For each shape a training of `run_steps` and the floors of its cost model are measured
in one process, turn by turn. The table has the seconds of a step of both clocks: the
wall, and CPU seconds of all threads, which hold on a machine with other work. The last
columns are the memory of the step's program (XLA) over that of the model, and the
growth of the resident size of the process while the data and the state are made.

The work: users uniform, clicks of items Zipf(1.05); id tables, temperature 0.05.
"""

import argparse
import gc
import os
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np
import training
from training import clicks, loaded

from twotower_jax.compiler import set_up
from twotower_jax.config import from_dict
from twotower_jax.cost.machine import Clock, Machine, Stopwatch
from twotower_jax.cost.memory import device_bytes, memory_parts
from twotower_jax.cost.speed import expected_speed
from twotower_jax.cost.work import step_work
from twotower_jax.data.sizes import sizes_of
from twotower_jax.run.memory import training_shape
from twotower_jax.run.problem import make_problem
from twotower_jax.training.step import run_steps

STEPS = 8  # of a dispatch
IDS = {"query": ["id"], "candidate": ["id"]}


class Case(NamedTuple):
    """One shape: items, and sections of the configuration."""

    items: int
    batch: int
    dim: int = 64
    towers: dict[str, Any] = IDS
    negatives: dict[str, Any] | None = None
    optimizer: str = "adam"
    users: int = 10_000
    pool: int = 0
    loss: dict[str, Any] | None = None


UNIFORM = {"in_batch": False, "easy": {"sampler": "uniform", "num": 1024}}
HARD = {"hard": {"num": 4, "stages": ["ranked"]}}
READER = {"query": ["history"], "candidate": ["id"]}
TRANSFORMER = READER | {
    "history_pooling": "transformer",
    "history_length": 50,
    "history_table": "shared",
    "sequence": {"longer": "newest"},
}
CASES = {
    "in-batch, 256 rows": Case(10_000, 256),
    "in-batch, 1,024 rows": Case(10_000, 1024),
    "in-batch, 4,096 rows": Case(10_000, 4096),
    "dimension 16": Case(10_000, 1024, 16),
    "dimension 256": Case(10_000, 1024, 256),
    "1M users and items": Case(1_000_000, 4096, users=1_000_000),
    "1,024 uniform": Case(1_000_000, 1024, negatives=UNIFORM),
    "4 hard slots": Case(100_000, 1024, negatives=HARD, pool=20),
    "history of 20": Case(100_000, 1024, towers=READER, users=3000),
    "layer of 128, adagrad": Case(
        10_000, 4096, towers={**IDS, "hidden": [128]}, optimizer="adagrad"
    ),
    "softmax over users too": Case(10_000, 1024, loss={"two_way": {"weight": 0.5}}),
    "transformer of 50": Case(10_000, 1024, towers=TRANSFORMER, users=3000),
    "65,536 rows": Case(10_000, 65_536),
}


def resident() -> int:
    """Return the resident bytes of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(name: str, case: Case, turns: int) -> str:
    """Return the line of a shape."""
    sections = {
        "training": {"batch_size": case.batch},
        "loss": {"temperature": 0.05} | (case.loss or {}),
        "data": {"split": "leave_last_out"},  # in which rows are in order of time
        "optimizer": {"name": case.optimizer},
        "towers": {**case.towers, "dim": case.dim},
        "negatives": case.negatives or {},
    }
    config = from_dict(sections)
    user, item = clicks(case.items)
    data = loaded(user % case.users, item, case.users, case.items, case.pool)
    gc.collect()
    before = resident()
    problem = make_problem(config, data)
    state = jax.block_until_ready(problem.start())
    grown = resident() - before
    shape = training_shape(config, sizes_of(data.log, data.split))
    work, machine, steps = step_work(shape), Machine(shape), []
    program, arrays, held = problem.program, problem.data, memory_parts(shape)
    for turn in range(turns + 1):
        rows = problem.order.batches(turn * STEPS, STEPS)
        with Stopwatch() as watch:
            state, losses = run_steps(program, arrays, state, rows, np.int32(STEPS))
            jax.block_until_ready(losses)
        if turn:  # the first dispatch compiles
            steps.append(Clock(*(x / STEPS for x in watch.read)))
            machine.measure()
    compiled = run_steps.lower(program, arrays, state, rows, np.int32(STEPS)).compile()
    memory: Any = compiled.memory_analysis()
    allocated = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    line = f"{name:24}"
    for clock in Clock._fields:
        predicted = expected_speed(work, machine.floors(clock))
        measured = median(getattr(one, clock) for one in steps)
        line += (
            f"{1e3 * predicted.step:10.2f}{1e3 * measured:10.2f}"
            f"{predicted.step / measured:7.2f}"
        )
    bound = expected_speed(work, machine.floors("cpu")).bound
    needed = device_bytes(held)
    return (
        f"{line}  {bound:18}{needed / 2**20:9.1f}{allocated / 2**20:9.1f}"
        f"{grown / 2**20:9.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--clicks", type=int, default=200_000)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    training.CLICKS = options.clicks
    set_up()
    print(
        f"jax {jax.__version__}, {os.cpu_count()} cores; ms of a step, predicted and "
        f"measured, their ratio; medians of {options.turns} turns; MiB"
    )
    print(
        f"{'':24}{'wall':>10}{'':>10}{'':>7}{'CPU':>10}{'':>10}{'':>7}  {'bound':18}"
        f"{'model':>9}{'XLA':>9}{'resident':>9}"
    )
    for name in options.cases:
        print(measure(name, CASES[name], options.turns), flush=True)


if __name__ == "__main__":
    main()
