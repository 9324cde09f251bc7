"""``twotower data prepare``: a log on disk as arrays, by streaming."""

import argparse
import dataclasses
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from twotower_jax.commands.understand import composed
from twotower_jax.errors import InputError
from twotower_jax.negatives import Funnel
from twotower_jax.sweeps.config_dir import search_words

if TYPE_CHECKING:
    from twotower_jax.config import Config

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

    from twotower_jax.config.data import DataConfig
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
    """Return the command that trains on a prepared folder, as words."""
    words = ["twotower", "train", "data=prepared", f"data.path={out}"]
    if not config.data.mask_seen:
        words.append("data.mask_seen=false")
    if config.data.columns.weight is not None:
        words.append(f"positives.weight={config.data.columns.weight}")
    if not index["parts"].get("test"):
        words.append("evaluation.test=false")
    return words
