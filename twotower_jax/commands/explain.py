"""``twotower train --help KEY``: the meaning of a key, or the keys of a group."""

import difflib
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from itertools import takewhile

from twotower_jax.config.describe import KeyRow, describe_keys, key_row, value_text
from twotower_jax.config.options import Option, all_options
from twotower_jax.config.schema import Key
from twotower_jax.errors import InputError

# Commands whose words are overrides.
COMMANDS = ("train", "advise", "audit")
# Keys whose choices are the entries of a registry, which imports JAX.
REGISTERED = (
    "data.source",
    "positives.strategy",
    "negatives.easy.sampler",
    "loss.name",
    "towers.kind",
    "optimizer.name",
)
PAGE = "docs/reference-keys.md"


def asked_keys(words: Sequence[str]) -> list[str]:
    """Return the keys that follow ``--help``; [] where none follows.

    Args:
      words: of the command line, after the command.

    Examples:
      >>> asked_keys(["--help", "loss.temperature", "negatives"])
      ['loss.temperature', 'negatives']
      >>> asked_keys(["--help", "loss=bce"]), asked_keys(["--help"])
      ([], [])
    """
    place = next((i for i, w in enumerate(words) if w in ("--help", "-h")), len(words))
    after = takewhile(lambda w: not w.startswith("-"), words[place + 1 :])
    keys = [word.rstrip(".=") for word in after if "=" not in word[:-1]]
    return [key for key in keys if key]
