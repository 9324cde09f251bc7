"""Histories of the training positives, written once and read by memory maps."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from twotower_jax.data.drafts import draft_of
from twotower_jax.data.history import History, history_of_events, make_history
from twotower_jax.data.log import Pairs, Split
from twotower_jax.data.mapped import release
from twotower_jax.data.prepared.arrays import load_array, write_array

HISTORIES = "histories"
# Clicks that are sorted at a time: about a gigabyte.
CLICKS = 2**24


def save_histories(out: Path, parts: Split, num_users: int) -> None:
    """Write the histories of the training positives, some users at a time.

    Args:
      out: the prepared folder.
      parts: its split.
      num_users: users of the log.
    """
    folder, known, train = out / HISTORIES, parts.known, parts.train
    folder.mkdir(parents=True, exist_ok=True)
    with (
        draft_of(folder / "begin.npy") as begin,
        draft_of(folder / "end.npy") as end,
    ):
        spans = _new_map(begin, len(train)), _new_map(end, len(train))
        items = _items_of_users(parts, num_users, spans)
        write_array(folder / "items.npy", items, len(known))
        for one in spans:
            one.flush()


def _new_map(path: Path, rows: int) -> np.memmap:
    """Return a memory map of a new file of int32, whose space is taken at once.

    A map that finds the disk full ends the process without a message.
    """
    header = {"descr": "<i4", "fortran_order": False, "shape": (rows,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, rows, CLICKS):
            file.write(bytes(4 * min(CLICKS, rows - first)))
    return np.lib.format.open_memmap(path, mode="r+")


def _items_of_users(
    parts: Split, num_users: int, spans: tuple[np.memmap, np.memmap]
) -> Iterator[np.ndarray]:
    """Yield the items of the histories, and note the spans of the positives."""
    known, train, written = parts.known, parts.train, 0
    begin, end = spans
    for first, last in _ranges_of_users(known.user, num_users):
        rows = _rows_of_users(train.user, first, last)
        targets = _take(train, rows)
        if known is train:
            made = history_of_events(targets)
        else:
            events = _take(known, _rows_of_users(known.user, first, last))
            made = make_history(events, targets.user, targets.time)
        begin[rows] = made.begin + written
        end[rows] = made.end + written
        written += len(made.items)
        yield made.items


def load_histories(out: Path) -> History | None:
    """Return the histories of the training positives of a prepared folder.

    Args:
      out: the folder.

    Returns:
      Memory maps; None of a folder that was prepared without histories.
    """
    folder = out / HISTORIES
    if not folder.is_dir():
        return None
    return History(*(load_array(folder / f"{one}.npy") for one in History._fields))


def _ranges_of_users(user: np.ndarray, num_users: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of users with few clicks together, or of one user."""
    number = np.zeros(num_users, np.int64)
    for row in range(0, len(user), CLICKS):
        number += np.bincount(user[row : row + CLICKS], minlength=num_users)
    total, first = np.concatenate([[0], np.cumsum(number)]), 0
    while first < num_users:
        end = int(np.searchsorted(total, total[first] + CLICKS, side="right")) - 1
        end = max(end, first + 1)
        yield first, end
        first = end


def _rows_of_users(user: np.ndarray, first: int, end: int) -> np.ndarray:
    """Return the rows of a range of users."""
    found = []
    for row in range(0, len(user), CLICKS):
        part = user[row : row + CLICKS]
        found.append(row + np.flatnonzero((part >= first) & (part < end)))
    release(user)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _take(pairs: Pairs, rows: np.ndarray) -> Pairs:
    """Return some positives, in their order."""
    time = None if pairs.time is None else pairs.time[rows]
    found = Pairs(np.asarray(pairs.user[rows]), np.asarray(pairs.item[rows]), time)
    for values in (pairs.item, pairs.time):
        if values is not None:
            release(values)
    return found
