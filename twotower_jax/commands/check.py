"""``twotower data check``: of a file of unknown layout, or of a configuration."""

import argparse
import os
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from twotower_jax.commands.understand import baselines, composed, understand
from twotower_jax.errors import InputError
from twotower_jax.registry import check_local
from twotower_jax.sweeps.config_dir import search_words

if TYPE_CHECKING:
    from twotower_jax.report.log_check import Checked

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
    """Return the path that a word gives, with ~ as the folder of the user."""
    check_local(option, word)
    return Path(os.path.expanduser(word))


def _check_overrides(overrides: list[str]) -> int:
    """Print the counts of the data of a configuration."""
    config = composed(overrides)
    from twotower_jax.data.suitability import studies
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
