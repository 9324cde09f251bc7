"""The examples of CONTRIBUTING.md, and modules that hold them."""

import re
import textwrap
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
SOURCE = """
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.negatives import EASY, HARD, Dense, Hard, HardDraws, Sampler
from twotower_jax.negatives.source import no_pools
from twotower_jax.registry import key, tag

"""


def block(section: str, language: str) -> str:
    """Return the first block of a language in a section, without its indentation."""
    text = re.search(
        rf"^## {section}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE
    )
    assert text
    fenced = rf"^ *```{language}\n(.*?)^ *```"
    code = re.search(fenced, text[1], re.DOTALL | re.MULTILINE)
    assert code
    return textwrap.dedent(code[1])
