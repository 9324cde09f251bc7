"""Ratios of this package to its peers and to the floors of the machine.

    make bench                     everything: hours
    make bench BENCH=short         a tiny form without peers, in a minute
    make bench BENCH="--only train start --rounds 3"

Each measure starts fresh processes in turn, round after round, with huge pages for all
of them. The table has the median ratio of the rounds, the smallest and the largest, and
the goal; the JSON file has the versions, the machine and the results of each process.
Peers have environments of their own, with the versions of `benchmarks/peers/*.txt`,
which are installed on first use. Without a peer its ratios are "not measured".
"""

import argparse
import os
import tempfile
from pathlib import Path

from .context import Bench
from .processes import HUGE_PAGES
from .registry import MEASURES
from .rows import Row
from .settings import FULL, SHORT
from .table import as_json, header, machine, table, write_json


def main(words: list[str] | None = None) -> None:
    """Measure, print the table and write the JSON file."""
    options = parse(words)
    os.environ.update(HUGE_PAGES)
    settings = FULL
    if options.form == "short":  # most of its time is that of compiling
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        settings = SHORT
    changes = {"rounds": options.rounds, "seconds": options.seconds}
    changes = {name: value for name, value in changes.items() if value is not None}
    settings, about = settings._replace(**changes), machine()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(settings, Path(folder), options.folder / "peers")
        for name in options.only or MEASURES:
            rows += MEASURES[name](bench)
        values = as_json(bench, rows, about)
    write_json(values, options.out or options.folder / "bench.json")
    print(f"{header(values)}\n\n{table(rows)}")


def parse(words: list[str] | None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("form", nargs="?", choices=("full", "short"), default="full")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), metavar="NAME")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--seconds", type=float, help="timed per training, default 4")
    place = Path("bench-data")
    parser.add_argument("--folder", type=Path, default=place, help="of environments")
    parser.add_argument("--out", type=Path, help="default FOLDER/bench.json")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
