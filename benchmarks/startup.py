"""Time that the commands need before they do any work.

``python benchmarks/startup.py`` prints the CPU seconds (user and system) and the wall
seconds of each command, the median of five runs on a warm disk. Other installations are
measured beside it: ``python benchmarks/startup.py OTHER/bin/twotower``.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = (
    "--help",
    "--version",
    "data list",
    "train optimzer.learning_rate=1",
    "train loss=bcee",
    "train loss.temperature=-1",
    "train --help",
    "train --help loss.temperature",
)
REPEATS = 5


def measure(program: Path, words: list[str]) -> tuple[float, float]:
    """Return the CPU seconds and wall seconds of one start of a command."""
    wall, before = time.perf_counter(), os.times()
    subprocess.run([program, *words], capture_output=True, check=False)
    wall, after = time.perf_counter() - wall, os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system, wall


def report(program: Path) -> None:
    """Print a line per command of one installation."""
    print(f"{program}\n{'command':34} {'CPU s':>7} {'wall s':>7}")
    for command in COMMANDS:
        words = command.split()
        measure(program, words)  # warms the disk
        pairs = [measure(program, words) for _ in range(REPEATS)]
        cpu, wall = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{command:34} {cpu:7.2f} {wall:7.2f}", flush=True)


def main() -> None:
    """Measure the installation of this Python, and others."""
    here = Path(sys.executable).with_name("twotower")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="*", type=Path, default=[here])
    for program in parser.parse_args().program:
        report(program)


if __name__ == "__main__":
    main()
