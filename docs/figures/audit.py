"""The cards of two arms of the configuration tree."""

import functools
import textwrap

import numpy as np
from matplotlib.figure import Figure

from figures.style import lines
from twotower_jax.cards.card import Card, audit_arm
from twotower_jax.cards.words import card_lines
from twotower_jax.sweeps.compose import compose_config

ARM = "uniform_per_row"
DRAWN = {"uniform, 16 a row": ARM, "exposed as negatives": "exposed_as_negatives"}


@functools.cache
def card(arm: str) -> Card:
    """Return the card of an arm."""
    return audit_arm(compose_config([f"arms={arm}"]))


def draw() -> Figure:
    """Return the drift by log P of two arms, for retrieved and for other items."""
    series = {}
    for label, arm in DRAWN.items():
        for group, curve in card(arm).curves.items():
            x, y = np.array(curve).T
            series[f"{label}: {group}"] = (x, y)
    return lines(series, "log P(i | u)", "optimum - log P, nats", marker="o")


def values() -> dict[str, str]:
    """Return the card as the command prints it."""
    lines = [textwrap.fill(line, 96) for line in card_lines(card(ARM))]
    text = textwrap.indent("\n".join(lines), "  ")
    return {"card": f"```\nuniform, a row\n{text}\n```"}
