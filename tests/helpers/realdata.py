"""Folders of public data sets, which are not part of the project."""

import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).parents[2] / ".." / "shared" / "data"


def data_folder(name: str) -> Path:
    """Return the folder of a data set, or skip the test."""
    root = Path(os.environ.get("TWOTOWER_SHARED_DATA") or DEFAULT).resolve()
    if not (root / name).is_dir():
        pytest.skip(
            f"the data set {name!r} is not here; set TWOTOWER_SHARED_DATA to the "
            "folder that holds it"
        )
    return root / name
