"""``twotower data prepare``: a log on disk as arrays, by streaming."""

import argparse
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from twotower_jax.commands.config_dir import search_words
from twotower_jax.commands.understand import composed
from twotower_jax.errors import InputError

if TYPE_CHECKING:
    from twotower_jax.config.data import DataConfig

SECONDS = 2.0  # between two lines of progress


def add_prepare(parser: argparse.ArgumentParser) -> None:
    """Add the overrides and options of ``prepare``."""
    text = "the data, such as data=table data.path=LOGS data.columns.user=NAME"
    parser.add_argument("words", nargs="*", metavar="key=value", help=text)
    text = "folder that gets the arrays; a killed command goes on in it"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=text)


def prepare(options: argparse.Namespace) -> int:
    """Read a log by streaming, code and split it, and write it as arrays."""
    config = composed([*search_words(options.config_dir), *options.words]).data
    if config.source == "prepared":
        raise InputError(
            "data=prepared is prepared already; give the source of the log, such as "
            "data=table data.path=FILE"
        )
    from twotower_jax.data.prepared.prepare import prepare
    from twotower_jax.run.lock import held

    console = Console(markup=False)
    progress = Progress(console)

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    with held(options.out.resolve(), False, line):
        index = prepare(config, options.out, progress)
    for text in summary(index, options.out, config):
        line(text)
    return 0


class Progress:
    """Lines with the rows so far, their rate and the time that is left.

    Args:
      console: where they are printed.
    """

    def __init__(self, console: Console):
        """Begin to count."""
        self._console, self._shown = console, 0.0
        self._what, self._begun, self._first = "", 0.0, 0

    def __call__(self, what: str, done: int, whole: int | None) -> None:
        """Take the rows that are done, print a line every two seconds.

        Args:
          what: is done.
          done: rows so far.
          whole: about how many rows there are; None where this is not known.
        """
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


def summary(index: dict[str, Any], out: Path, config: "DataConfig") -> list[str]:
    """Return the lines that end a preparation: the counts and the next command.

    Args:
      index: of the folder.
      out: the folder.
      config: the data that were prepared.
    """
    parts = ", ".join(f"{number:,} {name}" for name, number in index["parts"].items())
    words = ["data=prepared", f"data.path={out}"]
    if not config.mask_seen:
        words.append("data.mask_seen=false")
    if config.columns.weight is not None:
        words.append(f"positives.weight={config.columns.weight}")
    if not index["parts"].get("test"):
        words.append("evaluation.test=false")
    return [
        f"{out}: {index['users']:,} users, {index['items']:,} items, "
        f"{index['rows']:,} rows; positives: {parts}",
        f"data {index['fingerprint']}",
        shlex.join(["twotower", "train", *words]),
    ]
