"""``twotower data``: list, check, prepare and fetch data."""

import argparse
import dataclasses
import os
import re
import shlex
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from twotower_jax.commands.understand import baselines, composed, understand
from twotower_jax.errors import InputError
from twotower_jax.negatives import Funnel
from twotower_jax.registry import check_local
from twotower_jax.sweeps.overrides import search_words

if TYPE_CHECKING:
    from twotower_jax.config import Config
    from twotower_jax.report.log_check import Checked


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


OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@]*=.*", re.DOTALL)
SWEPT = ("arms=", "seed=", "baselines=")
ARMS = ("arms=uniform,in_batch,in_batch_logq", "baselines=true", "seed=0,1,2")


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the file, its tables of features and the overrides of ``check``."""
    text = (
        "a log of any layout, a file or the folder of its files, whose columns are "
        "guessed, and overrides such as data.columns.user=NAME; or overrides alone, "
        "such as data=movielens"
    )
    parser.add_argument("words", nargs="*", metavar="FILE key=value", help=text)
    for side in ("items", "users"):
        help_text = f"table with the features of the {side} of FILE"
        parser.add_argument(f"--{side}", metavar="FILE", help=help_text)


def check(options: argparse.Namespace) -> int:
    """Read, validate and split a data set, and print its condition."""
    overrides = [word for word in options.words if OVERRIDE.fullmatch(word)]
    files = [word for word in options.words if not OVERRIDE.fullmatch(word)]
    given = {"item": options.items, "user": options.users}
    sides = {
        side: _path(f"--{side}s", word)
        for side, word in given.items()
        if word is not None
    }
    if len(files) > 1:
        raise InputError(
            f"data check reads one log, and {len(files)} files are given: "
            f"{', '.join(files)}; give tables of features by --items and --users"
        )
    if files:
        return _check_file(
            _path("FILE", files[0]), sides, overrides, options.config_dir
        )
    if sides:
        raise InputError(
            "--items and --users need the FILE of the log before them; give it, or "
            "set data.items_path and data.users_path"
        )
    return _check_overrides([*search_words(options.config_dir), *overrides])


def _path(option: str, word: str) -> Path:
    """The path that a word gives, with ~ as the folder of the user."""
    check_local(option, word)
    return Path(os.path.expanduser(word))


def _check_overrides(overrides: list[str]) -> int:
    """Print the counts of the data of a configuration."""
    config = composed(overrides)
    from twotower_jax.data.health import studies
    from twotower_jax.data.summary import describe
    from twotower_jax.report.console import print_data
    from twotower_jax.run.loader import load_data, train_clicks

    data = load_data(config)
    values = describe(data.log, data.split)
    values["study"] = studies(data.log, config.data.source)
    for kind, fits in baselines(train_clicks(data), config).items():
        values[f"baseline: {kind}"] = fits
    print_data(Console(markup=False), values, data.fingerprint)
    return 0


def _check_file(
    path: Path, sides: dict[str, Path], overrides: list[str], folder: Path | None
) -> int:
    """Guess the layout of a log, read it, and print its condition."""
    console, search = Console(markup=False), search_words(folder)
    with console.status(f"reading {path}"):
        checked, words = understand(path, sides, overrides, search)
    start = ["--config-dir", str(folder)] if folder is not None else []
    _print(console, path, checked, [*start, *words])
    return 0


def hanging(text: str, indent: int, width: int) -> str:
    """Text in lines of a terminal, all but the first one indented.

    Examples:
      >>> print(hanging("  times  2022-04-15 to 2022-12-02", 9, 24))
        times  2022-04-15 to
               2022-12-02
    """
    blanks = " " * min(indent, width // 2)
    return textwrap.fill(
        text,
        width,
        subsequent_indent=blanks,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _print(console: Console, path: Path, checked: "Checked", words: list[str]) -> None:
    """Print the sections and the commands."""
    from twotower_jax.report.log_check import check_lines, studies_of
    from twotower_jax.sweeps.overrides import command_text

    def line(text: str, style: str = "", indent: int | None = None) -> None:
        if indent is not None and console.is_terminal:
            text = hanging(text, indent, console.width)
        console.print(Text(text, style=style), soft_wrap=True)

    line(f"{path}, read by data={checked.config.data.source}")
    for title, rows in check_lines(checked):
        line(f"\n{title}", "bold")
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            text = f"  {name:<{width}}  {value}" if name else f"  * {value}"
            line(text, indent=4 + width if name else 4)
    line("\nCommands", "bold")
    fixed = [word for word in words if not word.startswith(SWEPT)]
    line(command_text(["twotower", "advise", *fixed]))
    train = ["twotower", "train"]
    line(command_text([*train, *words]))
    line(command_text([*train, "-m", *fixed, *ARMS, "hydra/launcher=fused"]))
    for study in studies_of(checked.log):
        line(command_text([*train, *words, *study]))


SECONDS = 2.0  # between two lines of progress


def add_prepare(parser: argparse.ArgumentParser) -> None:
    """Add the overrides and options of ``prepare``."""
    text = (
        "the data, such as data=table data.path=LOGS data.columns.user=NAME; "
        "negatives=hard makes the pools of hard negatives too"
    )
    parser.add_argument("words", nargs="*", metavar="key=value", help=text)
    text = "folder that gets the arrays; a killed command goes on in it"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=text)


def prepare(options: argparse.Namespace) -> int:
    """Read a log by streaming, code and split it, and write it as arrays."""
    config = composed([*search_words(options.config_dir), *options.words])
    if config.data.source == "prepared":
        raise InputError(
            "data=prepared is prepared already; give the source of the log, such as "
            "data=table data.path=FILE"
        )
    from twotower_jax.data.prepared.prepare import prepare
    from twotower_jax.run.folder import held

    console = Console(markup=False)
    progress = Progress(console)

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    with held(options.out.resolve(), False, line):
        index = prepare(config.data, options.out, progress)
        pools = _make_pools(config, options.out, progress)
    for text in (*summary(index, options.out), *pools):
        line(text)
    words = train_words(index, options.out, config)
    if pools:
        words += [x for x in options.words if x.startswith(("negatives", "seed="))]
    line(shlex.join(words))
    return 0


def _make_pools(config: "Config", out: Path, progress: "Progress") -> list[str]:
    """Write the pools of hard negatives of a configuration that draws from the log."""
    import numpy as np

    from twotower_jax.data.config import DataConfig
    from twotower_jax.run.loader import load_data
    from twotower_jax.run.positives import as_prepared
    from twotower_jax.run.problem import hard_pools

    hard = config.negatives.hard
    stored = DataConfig(source="prepared", path=str(out), split="given")
    # The log may have no test part, and pools do not need one.
    untested = dataclasses.replace(config.evaluation, test=False)
    own = dataclasses.replace(config, data=stored, evaluation=untested)
    if not hard.num or not isinstance(hard, Funnel) or not as_prepared(own):
        return []
    progress("pools of hard negatives", 0, None)
    pools, counts = hard_pools(own, load_data(own))
    if not isinstance(pools.item, np.memmap):
        raise InputError(
            f"{out}: the pools of negatives.hard could not be written; free "
            f"{sum(one.nbytes for one in pools) / 1e6:,.1f} MB there and prepare again"
        )
    stages = ",".join(hard.stages)
    return [
        f"{counts['pools']:,} pools of {counts['items in pools']:,} hard negatives, "
        f"for negatives.hard.stages=[{stages}], pool={hard.pool}, "
        f"pool_size={hard.pool_size}"
    ]


class Progress:
    """Lines with the rows so far, their rate and the time that is left."""

    def __init__(self, console: Console):
        """Begin to count."""
        self._console, self._shown = console, 0.0
        self._what, self._begun, self._first = "", 0.0, 0

    def __call__(self, what: str, done: int, whole: int | None) -> None:
        """Take the rows that are done, print a line every two seconds."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._begun, self._first = what, now, done
        elif now - self._shown < SECONDS and done != whole:
            return
        self._shown = now
        text = f"{what}: {done:,}" if done else what
        if done and whole is not None:
            text += f" of about {max(whole, done):,}"
        rate = (done - self._first) / max(now - self._begun, 1e-9)
        if rate and now - self._begun > 1:
            text += f", {rate:,.0f} a second"
            if whole is not None:
                text += f", about {max(whole - done, 0) / rate:.0f} s left"
        self._console.print(text, highlight=False, soft_wrap=True)


def summary(index: dict[str, Any], out: Path) -> list[str]:
    """The lines that end a preparation: what was counted, and the fingerprint."""
    parts = ", ".join(f"{number:,} {name}" for name, number in index["parts"].items())
    return [
        f"{out}: {index['users']:,} users, {index['items']:,} items, "
        f"{index['rows']:,} rows; positives: {parts}",
        f"data {index['fingerprint']}",
    ]


def train_words(index: dict[str, Any], out: Path, config: "Config") -> list[str]:
    """The command that trains on a prepared folder, as words."""
    words = ["twotower", "train", "data=prepared", f"data.path={out}"]
    if not config.data.mask_seen:
        words.append("data.mask_seen=false")
    if config.data.columns.weight is not None:
        words.append(f"positives.weight={config.data.columns.weight}")
    if not index["parts"].get("test"):
        words.append("evaluation.test=false")
    return words
