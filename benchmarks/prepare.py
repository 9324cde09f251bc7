"""Rate and memory of `twotower data prepare`: `python benchmarks/prepare.py OUT`.

Writes a log of clicks as parquet files into OUT/log, one after the other, with items by
Zipf's law, prepares it into OUT/prepared in a process of its own, and prints the rows a
second and the most memory that this process had resident.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

GIB = 2**30
USERS_PER_ROW, ITEMS_PER_ROW = 0.05, 0.01


def write_log(folder: Path, rows: int, files: int) -> None:
    """Write the clicks, in the order of their times.

    Args:
      folder: it is made.
      rows: clicks in all.
      files: among which they are divided.
    """
    rng = np.random.default_rng(0)
    users, items = (
        max(2, int(rows * share)) for share in (USERS_PER_ROW, ITEMS_PER_ROW)
    )
    folder.mkdir(parents=True)
    for number in range(files):
        first, last = (rows * place // files for place in (number, number + 1))
        count = last - first
        # The inverse of the cumulative sum of 1 / rank, for many items.
        item = ((items + 1.0) ** rng.random(count)).astype(np.int64) - 1
        frame = pl.DataFrame(
            {
                "user": rng.integers(0, users, count),
                "item": item,
                "time": 1_600_000_000 + np.arange(first, last) // 100,
            }
        )
        frame.write_parquet(folder / f"{number:03}.parquet")


def main() -> None:
    """Write, prepare and print; further words are those of `data prepare`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder, which is made")
    parser.add_argument("--rows", type=float, default=1e8)
    parser.add_argument("--files", type=int, default=50)
    options, words = parser.parse_known_args()
    rows = int(options.rows)
    write_log(options.out / "log", rows, options.files)
    command = (
        *(sys.executable, "-m", "twotower_jax", "data", "prepare", "data=table"),
        *(f"data.path={options.out / 'log'}", "data.columns.time=time"),
        *("--out", str(options.out / "prepared"), *words),
    )
    begun = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(
        f"{rows:,} rows in {seconds:.0f} s, {rows / seconds:,.0f} rows/s, at most "
        f"{peak / GIB:.1f} GiB resident"
    )


if __name__ == "__main__":
    main()
