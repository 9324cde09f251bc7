"""``--config-dir``, which every command takes, so that an alias can hold it.

Commands that compose a configuration search the folder for files. The others, which
read that of a finished run or none, check that the folder exists.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from twotower_jax.errors import InputError

# Packages whose objects a configuration may name: launchers, sweepers, the callback.
TRUSTED = ("twotower_jax.", "hydra_plugins.", "hydra.", "optuna.")
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
    """Refuse a folder that does not exist, or whose files name programs.

    Args:
      folder: value of ``--config-dir``, or None.

    Raises:
      InputError: it is not a folder, or a file of it names a program.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise InputError(f"--config-dir {folder} is not a folder; give an existing one")
    for path in sorted(folder.rglob("*.yaml")):
        for name in _targets(path):
            if not name.startswith(TRUSTED):
                raise InputError(
                    f"{path}: _target_: {name[:60]} names a program that Hydra would "
                    "run; leave it out, or give it as a word of the command"
                )


def _targets(path: Path) -> list[str]:
    """Return the values of ``_target_`` in a file; Hydra refuses a broken one."""
    import yaml

    try:
        todo, found = [yaml.safe_load(path.read_text(encoding="utf-8"))], []
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return []
    seen: set[int] = set()  # an alias names one object in many places
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            found += [str(value) for key, value in one.items() if key == "_target_"]
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return found


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
