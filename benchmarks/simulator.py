"""Seconds and peak memory of making simulated worlds.

    python benchmarks/simulator.py [--world default|large] [--share 1.0]

A share below 1 makes so many of the requests, with the catalogue and the users as they
are; memory beyond the catalogue's then grows with the rows of the log. Peak memory is
that of the process (ru_maxrss), the whole of Python included.
"""

import argparse
import resource
import time

import numpy as np

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.facts import true_top_k
from twotower_jax.data.simulator.record import prepare, simulate
from twotower_jax.sweeps.compose import compose_config

WORLDS = {"default": "simulator", "large": "simulator_large"}
COLUMNS = ("user", "item", "stage", "time", "request", "rank")


def timed(name, call):
    """Print wall seconds, CPU seconds and the peak memory so far of a call."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = call()
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:<34}{wall:>9.1f} s{cpu:>9.1f} s CPU{peak:>8.2f} GiB peak", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", choices=WORLDS, default="default")
    parser.add_argument("--share", type=float, default=1.0)
    args = parser.parse_args()
    config = compose_config([f"data={WORLDS[args.world]}"]).data.simulator
    config.requests = max(1, int(args.share * config.requests))
    timed("world, requests and pilot", lambda: prepare(config))
    log = timed("log", lambda: simulate(config))
    users = np.arange(256)
    timed("true top 100 of 256 users", lambda: true_top_k(config, users, 100))
    size = sum(getattr(log, name).nbytes for name in COLUMNS) / 2**30
    clicks = int((log.stage == Stage.CLICKED).sum())
    print(f"{len(log.user)} rows, {clicks} clicks, {size:.2f} GiB of columns")


if __name__ == "__main__":
    main()
