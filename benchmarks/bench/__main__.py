"""Ratios of this package to its peers and to the floors of the machine.

    make bench                     everything: hours
    make bench BENCH=short         a tiny form without peers, in a minute
    make bench BENCH="--only train start --rounds 3"

Each measure starts fresh processes in turn, round after round, with huge pages for all
of them. The table has the median ratio of the rounds, the smallest and the largest, and
the goal; the JSON file has the versions, the machine and the results of each process.
Peers have environments of their own, with the versions of `benchmarks/peers/*.txt`,
which `make bench` installs before their first measure. If an installation fails, the
row of that peer has the error and no ratio. After Ctrl-C the finished rounds are
printed.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from .context import Bench
from .processes import HUGE_PAGES
from .registry import MEASURES
from .rows import Row
from .settings import FULL, SHORT, Settings, short
from .table import as_json, header, machine, table, write_json
from .trainings import PEERS

CHANGES = ("rounds", "seconds", "peers", "study")


def main(words: list[str] | None = None) -> None:
    """Measure, print the table and write the JSON file."""
    options = parse(words)
    os.environ.update(HUGE_PAGES)
    settings = FULL
    if options.form == "short":  # most of its time is that of compiling
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        settings = SHORT
    changes = {name: getattr(options, name) for name in CHANGES}
    changes = {name: value for name, value in changes.items() if value is not None}
    settings, about = matching(settings._replace(**changes), options.match), machine()
    rows: list[Row] = []
    values: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(settings, Path(folder), options.folder / "peers")
        for name in options.only or MEASURES:
            if bench.stopped:
                break
            rows += MEASURES[name](bench)
            values = as_json(bench, rows, about)
            write_json(values, options.out or options.folder / "bench.json")
    print(f"{header(values)}\n\n{table(rows)}")


def matching(settings: Settings, texts: list[str]) -> Settings:
    """Return settings whose cases have one of some texts in their names."""

    def wanted(name: str) -> bool:
        return any(text in name for text in texts)

    fields = ("rows", "batches", "dims", "histories", "hard")
    kept = {
        name: tuple(case for case in getattr(settings, name) if wanted(case.name))
        for name in fields
    }
    searches = tuple(x for x in settings.searches if wanted(f"{short(x[0])} items"))
    return settings._replace(**kept, searches=searches)


def parse(words: list[str] | None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("form", nargs="?", choices=("full", "short"), default="full")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), metavar="NAME")
    parser.add_argument(
        "--match", nargs="+", default=[""], help="cases by parts of their names"
    )
    parser.add_argument(
        "--peers", nargs="*", choices=list(PEERS), help="of trainings; default all"
    )
    parser.add_argument("--study", nargs="+", help="settings of the study's runs")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--seconds", type=float, help="timed per training, default 4")
    place = Path("bench-data")
    parser.add_argument("--folder", type=Path, default=place, help="of environments")
    parser.add_argument("--out", type=Path, help="default FOLDER/bench.json")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
