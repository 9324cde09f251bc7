"""Tab completion of commands, of keys and groups, and of their values.

Hydra installs the script of a shell; the words come from the declarations.
"""

import os
import re
from collections.abc import Iterable, Sequence

from twotower_jax.commands.explain import all_rows
from twotower_jax.config.describe import declaration
from twotower_jax.config.options import groups, option_names
from twotower_jax.sweeps.config_dir import NAMES

# The last word behind a command whose words are overrides.
OVERRIDES = re.compile(
    r"\s*\S+\s+(train|advise|audit|plan|data\s+check)\s+(?:.*\s)?(\S*)", re.DOTALL
)
# A folder of configuration files before the command.
BEFORE = re.compile(rf"^(\s*\S+)\s+(?:{'|'.join(NAMES)})[\s=]+\S+(?=\s)")


def complete(options: list[str], commands: Iterable[str]) -> int:
    """Print a script of completion, or the completions of the line of a shell."""
    if not options[-1].startswith("query="):
        from twotower_jax.commands.train import train  # imports Hydra

        return train(options)
    # The shell completes the word at the cursor, and COMP_LINE is the whole line.
    line = os.environ.get("COMP_LINE", "")
    line = BEFORE.sub(r"\1", line[: int(os.environ.get("COMP_POINT") or len(line))])
    if match := OVERRIDES.fullmatch(line):
        words = completions(match[2], advise=match[1] == "advise")
    else:
        start = "".join(line.split(maxsplit=1)[1:])
        words = [name for name in commands if name.startswith(start)]
    print(("\n" if options[-1] == "query=fish" else " ").join(words))
    return 0


def completions(word: str, *, advise: bool = False) -> list[str]:
    """Return the completions of an override, up to its next part.

    Examples:
      >>> completions("negatives=uniform,mi")
      ['negatives=uniform,mined', 'negatives=uniform,mixed']
      >>> completions("negatives.e"), completions("arms=plain/alpha_7")
      (['negatives.easy.'], ['arms=plain/alpha_75'])
    """
    key, equals, value = word.partition("=")
    if equals and value.startswith((".", "/")):
        from hydra.plugins.completion_plugin import CompletionPlugin

        return [f"{key}={path}" for path in CompletionPlugin.complete_files(value)]
    if equals:
        before, comma, last = value.rpartition(",")
        names = [name for name in values_of(key) if name.startswith(last)]
        return sorted(f"{key}={before}{comma}{name}" for name in names)
    rows = [row for row in all_rows() if advise or not row.key.startswith("advise.")]
    known = [f"{name}=" for name in (*(row.key for row in rows), *groups())]
    bare = word.lstrip("+~")
    ends = (re.match(r".*?[./=]", k[len(bare) :]) for k in known if k.startswith(bare))
    return sorted({f"{word}{end[0]}" for end in ends if end})


def values_of(key: str) -> Sequence[str]:
    """Return the values that a key or group may take, () where they are not names.

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
