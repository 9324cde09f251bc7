"""``twotower export``: the model of a finished run for other programs."""

import argparse
from pathlib import Path

from rich.console import Console


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the run and the options of ``export``."""
    text = "folder of one run, such as outputs/NAME/HASH"
    parser.add_argument("folder", type=Path, metavar="RUN", help=text)
    out = "folder that is written; new, or empty"
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help=out)
    index = "also write an approximate index by this library, and print its recall"
    parser.add_argument("--index", choices=("faiss", "usearch"), help=index)


def export(options: argparse.Namespace) -> int:
    """Write vectors, towers, vocabularies and a script that serves them."""
    from twotower_jax.compiler import set_up
    from twotower_jax.export.write import export_run

    set_up()
    console = Console(markup=False)
    export_run(options.folder, options.out, options.index, console)
    place = options.out / "serve.py"
    text = f"exported {options.folder} to {options.out}; next: python {place} --help"
    console.print(text, highlight=False, soft_wrap=True)
    return 0
