"""``twotower advise``: which samples to train on, from a user's own log."""

import argparse
import math
import shlex
import time

from rich.console import Console

from twotower_jax.config.describe import KeyRow, key_row
from twotower_jax.errors import InputError, closest
from twotower_jax.registry import Key
from twotower_jax.sweeps.overrides import search_words

MINUTES = 10.0
PREFIX = "advise."


def advise_rows() -> list[KeyRow]:
    """Return one row per key that only ``advise`` reads."""
    minutes = Key(
        "minutes for all runs, the test included",
        "data=table data.path=clicks.csv advise.minutes=30",
        above=0,
    )
    return [key_row("advise.minutes", "float", minutes, MINUTES)]


def add_advise(parser: argparse.ArgumentParser) -> None:
    """Add the overrides of ``advise``."""
    text = (
        "overrides as for twotower train, such as data=table data.path=FILE, and "
        f"advise.minutes={MINUTES:g}; a key that is set is not tried at other values"
    )
    parser.add_argument("words", nargs="*", metavar="key=value", help=text)


def advise(options: argparse.Namespace) -> int:
    """Choose the samples on validation, test the choice, write the advice."""
    from twotower_jax.sweeps.wrong_words import explained

    minutes, words = read_minutes(options.words)
    words = [*search_words(options.config_dir), *words]
    from twotower_jax.advice.files import next_commands, write_advice
    from twotower_jax.advice.stages import Advisor
    from twotower_jax.compiler import set_up

    set_up()
    console, start = Console(markup=False), time.monotonic()
    with explained(words):
        advisor = Advisor(words, minutes, console)
    folder = [f"--config-dir={options.config_dir}"] if options.config_dir else []
    command, stop = (
        shlex.join(["twotower", "advise", *folder, *options.words]),
        None,
    )
    try:
        advisor.run(command)
    except (KeyboardInterrupt, SystemExit) as interrupt:
        stop = interrupt
    spent = (time.monotonic() - start) / 60
    decision = write_advice(advisor.progress, advisor.metric, spent, console)
    if stop is not None:
        console.print("stopped; the same command goes on from here")
        raise stop
    if decision is None:
        raise InputError(
            f"advise.minutes={minutes:g}: no run finished (their errors are above); "
            "give more minutes, or check the log with twotower data check"
        )
    for line in next_commands(advisor.progress, decision):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def read_minutes(words: list[str]) -> tuple[float, list[str]]:
    """Separate the options of the advice from the overrides.

    Examples:
      >>> read_minutes(["data=table", "advise.minutes=5"])
      (5.0, ['data=table'])
    """
    minutes, others = MINUTES, []
    for word in words:
        if not word.startswith(PREFIX):
            others.append(word)
            continue
        key, _, text = word.partition("=")
        if key != "advise.minutes":
            near = closest(key, ["advise.minutes"])
            raise InputError(
                f"twotower advise has no option {key}{f' ({near})' if near else ''}; "
                "it has advise.minutes"
            )
        try:
            minutes = float(text)
        except ValueError:
            minutes = math.nan
        if not 0 < minutes < math.inf:
            raise InputError(
                f"advise.minutes={text} is not above 0; give minutes such as 10"
            )
    return minutes, others
