"""``twotower data list``, ``check`` and ``fetch``."""

import argparse
from pathlib import Path

from rich.console import Console


def show_sources(options: argparse.Namespace) -> int:
    """Print the sources of logs."""
    from rich.markup import escape
    from rich.table import Table

    from twotower_jax.data.sources import SOURCES

    del options
    table = Table("data=", "description", box=None)
    for name, source in SOURCES.items():
        table.add_row(name, escape(source.description))
    Console().print(table)
    return 0


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the overrides of ``check``."""
    text = "overrides as for twotower train, such as data=table data.path=FILE"
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=text)


def check(options: argparse.Namespace) -> int:
    """Read, validate and split a data set, and print its counts."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from twotower_jax.sweeps.compose import compose_config, explain

    try:
        config = compose_config(options.overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from None
    from twotower_jax.data.suitability import studies
    from twotower_jax.data.summary import describe
    from twotower_jax.model.baselines import BASELINES
    from twotower_jax.report.console import print_data
    from twotower_jax.run.inputs import check_names, load_data, train_clicks

    check_names(config)
    data = load_data(config)
    values = describe(data.log, data.split)
    values["study"] = studies(data.log, config.data.source)
    clicks = train_clicks(data)
    for kind, baseline in BASELINES.items():
        reason = baseline.excess(clicks, config.baseline)
        fits = f"yes: arms=baseline/{kind}" if reason is None else f"no: {reason}"
        values[f"baseline: {kind}"] = fits
    print_data(Console(), values, data.fingerprint)
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
        Console(),
        yes=options.yes,
        replaced=Replaced(options.address, options.sha256),
    )
    return 0
