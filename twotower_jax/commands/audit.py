"""``twotower audit``: the optimum of an arm's objective, before any training."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.text import Text

from twotower_jax.errors import InputError
from twotower_jax.sweeps.overrides import search_words


def add_audit(parser: argparse.ArgumentParser) -> None:
    """Add the overrides and the options of ``audit``."""
    text = "overrides as for twotower train, such as arms=half_hard,in_batch"
    parser.add_argument("words", nargs="*", metavar="key=value", help=text)
    out = "folder of cards and figures; outputs/audit by default"
    parser.add_argument("--out", type=Path, metavar="DIR", help=out)


def audit(options: argparse.Namespace) -> int:
    """Print the card of each arm, and write its figure."""
    from twotower_jax.sweeps.compose import compose_configs
    from twotower_jax.sweeps.wrong_words import explained

    words = [*search_words(options.config_dir), *options.words]
    with explained(words):
        configs = compose_configs(words)
    folder = options.out or Path(next(iter(configs.values())).output) / "audit"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder")
    # Imported after the checks, for they import JAX.
    from twotower_jax.cards.arm import check_arm
    from twotower_jax.cards.card import Card
    from twotower_jax.cards.store import card_key, find_cards
    from twotower_jax.cards.words import card_lines
    from twotower_jax.compiler import set_up
    from twotower_jax.report.canvas import write_drawing
    from twotower_jax.report.objective import card_figure

    for config in configs.values():
        check_arm(config)
    set_up()
    console = Console(markup=False)
    for name, config in configs.items():
        card = find_cards({name: config}, folder)[name]
        if not isinstance(card, Card):
            raise InputError(card)
        path = folder / f"{card_key(config)}.svg"
        write_drawing(card_figure(name, card), path)
        console.print(Text(name, style="bold"))
        for line in [*card_lines(card), f"figure: {path}"]:
            console.print(Text(f"  {line}"), soft_wrap=True)
    return 0
