"""``--config-dir``, which every command takes, so that an alias can hold it.

Commands that compose a configuration search the folder for files. The others, which
read that of a finished run or none, check that the folder exists.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from twotower_jax.errors import InputError

NAMES = ("--config-dir", "-cd")


def add_config_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-dir``, which ``twotower train`` has from Hydra."""
    text = (
        "folder of further configuration files, such as DIR/arms/mine.yaml, for "
        "commands that compose a configuration"
    )
    parser.add_argument(*NAMES, type=Path, metavar="DIR", help=text)


def after_command(words: Sequence[str]) -> list[str]:
    """Words of a command line, with a first ``--config-dir DIR`` behind the command.

    Args:
      words: after the program.

    Examples:
      >>> after_command(["--config-dir", "my", "train", "seed=1"])
      ['train', '--config-dir', 'my', 'seed=1']
      >>> after_command(["-cd=my", "data", "check", "a.csv"])
      ['data', 'check', '-cd=my', 'a.csv']
    """
    name, equals, _ = words[0].partition("=") if words else ("", "", "")
    size = 0 if name not in NAMES else 1 if equals else 2
    option, rest = words[:size], words[size:]
    command = 2 if rest[:1] == ["data"] else 1
    return [*rest[:command], *option, *rest[command:]]


def check_config_dir(folder: Path | None) -> None:
    """Refuse a folder that does not exist.

    Args:
      folder: value of ``--config-dir``, or None.

    Raises:
      InputError: it is not a folder.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"--config-dir {folder} is not a folder; give an existing one")


def search_words(folder: Path | None) -> list[str]:
    """Overrides that add a folder to the places of configuration files.

    Args:
      folder: value of ``--config-dir``, which exists, or None.

    Returns:
      One override; [] without a folder.
    """
    if folder is None:
        return []
    from twotower_jax.sweeps.overrides import override

    return [override("hydra.searchpath", [f"file://{folder.resolve()}"])]
