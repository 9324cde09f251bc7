"""Arrays made of a prepared log for some keys of a training, kept in its folder.

The keys, such as the stages of hard negatives, are given to the preparation or to a
later training. The folder ``made`` can be removed: the next training makes it again.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twotower_jax.arrays.mapped import new_map
from twotower_jax.data.drafts import checksum, new_draft, put_in_place, removed, writing
from twotower_jax.data.parse_text import parse_json
from twotower_jax.data.prepared.arrays import load_array
from twotower_jax.errors import InputError

MADE, INDEX = "made", "made.json"
FORMAT = 1  # of the arrays; counts up where the same keys make others
# Name, shape and type of an array -> the array, to be filled.
Room = Callable[[str, tuple[int, ...], str], np.ndarray]


class Made(NamedTuple):
    """Arrays and what was counted while they were made.

    Attributes:
      arrays: {name: memory map}.
      counts: {name: number}.
    """

    arrays: dict[str, np.ndarray]
    counts: dict[str, int]


def place_of(folder: Path, kind: str, keys: Mapping[str, Any]) -> Path:
    """Return the folder of arrays within a prepared one."""
    text = json.dumps({"format": FORMAT, **keys}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return folder / MADE / f"{kind}-{digest}"


def load_made(place: Path, names: Collection[str]) -> Made | None:
    """Return arrays that were made before, as memory maps; None where none were."""
    path = place / INDEX
    if not path.is_file():
        return None
    try:
        index = parse_json(path.read_text(encoding="utf-8"))
        sums, counts = dict(index["checksums"]), dict(index["counts"])
    except (ValueError, TypeError, KeyError, InputError):
        raise _damaged(path) from None
    if sums.keys() != set(names):
        raise _damaged(path)
    arrays = {}
    for name, right in sums.items():
        array = place / f"{name}.npy"
        if not array.is_file() or checksum(array) != right:
            raise _damaged(array)
        arrays[name] = load_array(array)
    return Made(arrays, counts)


def make_at(
    build: Callable[[Room], dict[str, int]],
    place_for: Callable[[dict], Path],
    names: Collection[str],
) -> Made | None:
    """Make arrays in files of a prepared folder."""
    first = place_for({})
    with suppress(OSError), writing(first):
        first.parent.mkdir(exist_ok=True)
        draft = new_draft(first)
        with removed(draft):
            draft.mkdir()
            counts = _fill(draft, build)
            place = place_for(counts)
            with suppress(OSError):  # another training was faster
                put_in_place(draft, place)
            return load_made(place, names)
    return None


def _fill(draft: Path, build: Callable[[Room], dict[str, int]]) -> dict[str, int]:
    """Make arrays in a folder, with their index, and return the counts."""
    maps: dict[str, np.memmap] = {}

    def room(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
        maps[name] = new_map(draft / f"{name}.npy", shape, kind)
        return maps[name]

    counts = build(room)
    for one in maps.values():
        one.flush()
    sums = {name: checksum(draft / f"{name}.npy") for name in maps}
    index = {"checksums": sums, "counts": counts}
    (draft / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return counts


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{path} is damaged; remove its folder {path.parent}, and the training makes "
        "it again"
    )
