"""Tab completion of commands, and of overrides by Hydra.

Hydra completes groups, the options at the top of a group, and sections. Added here are
the options in folders of a group, the values of keys with choices, the last of several
values (``negatives=uniform,mi``), and keys after a word that is wrong.
"""

import contextlib
import io
import os
import re
import shlex
from collections.abc import Iterable, Sequence

from twotower_jax.commands.advise import advise_rows
from twotower_jax.commands.config_dir import NAMES
from twotower_jax.commands.explain import all_rows
from twotower_jax.config.describe import KeyRow, declaration, describe_keys
from twotower_jax.config.options import option_names
from twotower_jax.errors import InputError

# Commands whose words are overrides.
OVERRIDES = re.compile(
    r"\s*(\S+)\s+(?:train|advise|audit|plan|data\s+check)\s+(.*)", re.DOTALL
)
# A folder of configuration files before the command.
BEFORE = re.compile(rf"^(\s*\S+)\s+(?:{'|'.join(NAMES)})[\s=]+\S+(?=\s)")


def without_command(line: str) -> str | None:
    """Return a command line without its command, as Hydra completes it.

    Examples:
      >>> without_command("twotower train loss=")
      'twotower loss='
      >>> without_command("twotower data check data.")
      'twotower data.'
      >>> without_command("twotower data check clicks.csv data.")
      'twotower data.'
      >>> without_command("twotower rep")
    """
    match = OVERRIDES.fullmatch(line)
    if match is None:
        return None
    before, _, last = match[2].rpartition(" ")
    try:
        words = shlex.split(before)
    except ValueError:  # an open quote
        words = before.split()
    return " ".join([match[1], *filter(_passes, words), last])


def _passes(word: str) -> bool:
    """Return whether a word is an override or option that Hydra can read here.

    The file of `data check` and a folder are not, and Hydra splits words at blanks.
    """
    known = "=" in word or (word.startswith("-") and word not in NAMES)
    return known and not re.search(r"\s", word)


def complete(options: list[str], commands: Iterable[str]) -> int:
    """Print a script of completion, or the completions of the line of a shell."""
    # Imported on use, for they import Hydra.
    from twotower_jax.commands.train import train
    from twotower_jax.sweeps.compose import open_words

    if not options[-1].startswith("query="):
        return train(options)
    # The shell completes the word at the cursor, and COMP_LINE is the whole line.
    line = os.environ.get("COMP_LINE", "")
    line = line[: int(os.environ.get("COMP_POINT") or len(line))]
    line = BEFORE.sub(r"\1", line)
    overrides = without_command(line)
    if overrides is None:
        words = line.split(maxsplit=1)
        start = words[1] if len(words) > 1 else ""
        print(" ".join(name for name in commands if name.startswith(start)))
        return 0
    *words, last = overrides.split(" ")
    os.environ["COMP_LINE"] = " ".join([*open_words(words), last])
    text = io.StringIO()
    # A word that is wrong leaves the completions of the configuration as it is.
    with contextlib.redirect_stdout(text), contextlib.suppress(InputError):
        train(options)
    rows = describe_keys()
    if re.match(r"\s*\S+\s+advise\s", line):
        rows += advise_rows()
    found = completions(last, text.getvalue().split(), rows)
    print(("\n" if options[-1] == "query=fish" else " ").join(found))
    return 0


def completions(word: str, found: Iterable[str], rows: Sequence[KeyRow]) -> list[str]:
    """Completions of a word: those of Hydra, repaired, and those that it lacks.

    Examples:
      >>> completions("negatives=uniform,mi", [], [])
      ['negatives=uniform,mined', 'negatives=uniform,mixed']
      >>> completions("negatives.e", [], describe_keys())
      ['negatives.easy.']
      >>> completions("arms=pl", [], [])[:2]
      ['arms=plain/alpha_1', 'arms=plain/alpha_75']
    """
    key, equals, value = word.partition("=")
    if equals:
        before, comma, last = value.rpartition(",")
        names = [name for name in values_of(key) if name.startswith(last)]
        return sorted({*found, *(f"{key}={before}{comma}{name}" for name in names)})
    lists = {row.key for row in all_rows() if row.type.startswith("list of")}
    own = [_next_part(word, row.key) for row in rows if row.key.startswith(word)]
    hydra = [name for name in found if "._target_" not in name]
    return sorted({*own, *(_ended(name, lists) for name in hydra)})


def _next_part(word: str, key: str) -> str:
    """Return a key up to the part in which the cursor is."""
    part, dot, _ = key[len(word) :].partition(".")
    return f"{word}{part}{dot or '='}"


def _ended(name: str, lists: set[str]) -> str:
    """Return a completion of Hydra with the sign that follows it.

    Hydra opens a list as if it were a section, and leaves out the sign after a group
    that has options at its top and in folders.
    """
    if name[:-1] in lists:
        return f"{name[:-1]}="
    if name[-1] in "=./":
        return name
    return f"{name}=" if option_names(name) else f"{name}/"


def values_of(key: str) -> Sequence[str]:
    """The values that a key or group may take, () where they are not a few names.

    Examples:
      >>> values_of("training.order"), values_of("data.header"), values_of("seed")
      (('shuffled', 'time', 'blocks'), ('true', 'false'), ())
    """
    key = key.lstrip("+~")
    if names := option_names(key):
        return names
    kinds = {row.key: row.type for row in all_rows()}
    if kinds.get(key, "").startswith("bool"):
        return ("true", "false")
    made = declaration(key)
    return made.choices if made is not None and kinds[key].startswith("text") else ()
