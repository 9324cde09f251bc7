"""The index of a prepared folder, and the checksums of its arrays."""

from pathlib import Path
from typing import Any

from twotower_jax.data.drafts import checksum
from twotower_jax.data.parse_text import parse_json
from twotower_jax.data.prepared.arrays import PARTS
from twotower_jax.data.prepared.funnel import FUNNEL
from twotower_jax.data.prepared.histories import HISTORIES
from twotower_jax.data.prepared.known import KNOWN
from twotower_jax.errors import InputError

FORMAT = 1
INDEX, LOG = "prepared.json", "log"


def checksums(folder: Path) -> dict[str, str]:
    """Return {file: SHA-256} of the arrays of a folder, by their paths within it."""
    found = {}
    for part in (LOG, *PARTS, HISTORIES, FUNNEL, KNOWN):
        for path in sorted((folder / part).glob("*")):
            if path.suffix == ".tmp":  # of a call that was killed
                path.unlink()
                continue
            found[f"{part}/{path.name}"] = checksum(path)
    return found


def read_index(path: Path) -> dict[str, Any]:
    """Return the content of an index."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, InputError) as error:
        raise InputError(
            f"{path} is damaged: {error}; prepare the data again"
        ) from None
    if not isinstance(found, dict):
        raise InputError(
            f"{path} is damaged: no JSON object; move its folder away, and prepare it "
            "again"
        )
    return found
