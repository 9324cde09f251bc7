"""``--config-dir`` of the commands that compose a configuration without a run."""

import argparse
from pathlib import Path

from twotower_jax.errors import InputError


def add_config_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-dir``, which ``twotower train`` has from Hydra."""
    text = "folder of further configuration files, such as DIR/arms/mine.yaml"
    parser.add_argument("--config-dir", "-cd", type=Path, metavar="DIR", help=text)


def search_words(folder: Path | None) -> list[str]:
    """Overrides that add a folder to the places of configuration files.

    Args:
      folder: value of ``--config-dir``, or None.

    Returns:
      One override; [] without a folder.

    Raises:
      InputError: the folder does not exist.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        raise InputError(f"--config-dir {folder} is not a folder; give an existing one")
    from twotower_jax.sweeps.overrides import override

    return [override("hydra.searchpath", [f"file://{folder.resolve()}"])]
