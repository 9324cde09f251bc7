"""Tab completion of commands, and of overrides by Hydra."""

import os
import re
from collections.abc import Iterable

# Commands whose words are overrides.
OVERRIDES = re.compile(r"\s*(\S+)\s+(?:train|audit|data\s+check)\s+(.*)", re.DOTALL)


def without_command(line: str) -> str | None:
    """Return a command line without its command, as Hydra completes it.

    Args:
      line: all words before the cursor, the program first.

    Returns:
      The program and the overrides; None where the words are not overrides.

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
    *words, last = match[2].split(" ")
    # The file that `data check` reads is not an override.
    words = [word for word in words if "=" in word or word.startswith("-")]
    return " ".join([match[1], *words, last])


def complete(options: list[str], commands: Iterable[str]) -> int:
    """Print a script of completion, or the completions of the line of a shell.

    Args:
      options: ``-sc`` and ``install=bash``, ``query=bash`` and so on, of Hydra.
      commands: the names of all commands.
    """
    line = os.environ.get("COMP_LINE", "")
    overrides = without_command(line)
    if overrides is None and options[-1].startswith("query="):
        words = line.split(maxsplit=1)
        start = words[1] if len(words) > 1 else ""
        print(" ".join(name for name in commands if name.startswith(start)))
        return 0
    if overrides is not None:
        os.environ["COMP_LINE"] = overrides
    from twotower_jax.commands.train import train

    return train(options)
