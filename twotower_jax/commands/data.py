"""``twotower data list`` and ``fetch``."""

import argparse
from pathlib import Path

from rich.console import Console


def show_sources(options: argparse.Namespace) -> int:
    """Print the sources of logs."""
    from rich.table import Table

    from twotower_jax.data.sources import SOURCES

    del options
    table = Table("data=", "description", box=None)
    for name, source in SOURCES.items():
        table.add_row(name, source.description)
    Console(markup=False).print(table)
    return 0


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetch``."""
    name = "the data set; without it all are listed"
    parser.add_argument("name", nargs="?", help=name)
    out = "folder that gets a folder per data set; data by default"
    parser.add_argument(
        "--out", type=Path, default=Path("data"), metavar="DIR", help=out
    )
    yes = "fetch; without it only the terms and files are shown"
    parser.add_argument("--yes", action="store_true", help=yes)
    address = "address of a file in place of the catalogue's; one per file"
    parser.add_argument(
        "--address", action="append", default=[], metavar="URL", help=address
    )
    sums = "SHA-256 of a file in place of the catalogue's; one per file"
    parser.add_argument(
        "--sha256", action="append", default=[], metavar="SUM", help=sums
    )


def fetch(options: argparse.Namespace) -> int:
    """List the public data sets, show one, or fetch it."""
    from twotower_jax.data.public.fetch import Replaced, fetch_command

    fetch_command(
        options.name,
        options.out,
        Console(markup=False),
        yes=options.yes,
        replaced=Replaced(options.address, options.sha256),
    )
    return 0
