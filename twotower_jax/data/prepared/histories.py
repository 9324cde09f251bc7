"""Histories of the training positives, written once and read by memory maps."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from twotower_jax.arrays.mapped import new_map, ranges_of_users, release, rows_of_users
from twotower_jax.data.drafts import draft_of
from twotower_jax.data.history import History, history_of_events, make_history
from twotower_jax.data.log import Pairs, Split
from twotower_jax.data.prepared.arrays import load_array, write_array

HISTORIES = "histories"


def save_histories(out: Path, parts: Split, num_users: int) -> None:
    """Write the histories of the training positives, some users at a time."""
    folder, known, train = out / HISTORIES, parts.known, parts.train
    folder.mkdir(parents=True, exist_ok=True)
    with (
        draft_of(folder / "begin.npy") as begin,
        draft_of(folder / "end.npy") as end,
    ):
        spans = new_map(begin, len(train)), new_map(end, len(train))
        items = _items_of_users(parts, num_users, spans)
        write_array(folder / "items.npy", items, len(known))
        for one in spans:
            one.flush()


def _items_of_users(
    parts: Split, num_users: int, spans: tuple[np.memmap, np.memmap]
) -> Iterator[np.ndarray]:
    """Yield the items of the histories, and note the spans of the positives."""
    known, train, written = parts.known, parts.train, 0
    begin, end = spans
    for first, last in ranges_of_users([known.user], num_users):
        rows = rows_of_users(train.user, first, last)
        targets = _take(train, rows)
        if known is train:
            made = history_of_events(targets)
        else:
            events = _take(known, rows_of_users(known.user, first, last))
            made = make_history(events, targets.user, targets.time)
        begin[rows] = made.begin + written
        end[rows] = made.end + written
        written += len(made.items)
        yield made.items


def load_histories(out: Path) -> History | None:
    """Return the histories of the training positives of a prepared folder."""
    folder = out / HISTORIES
    if not folder.is_dir():
        return None
    return History(*(load_array(folder / f"{one}.npy") for one in History._fields))


def _take(pairs: Pairs, rows: np.ndarray) -> Pairs:
    """Return some positives, in their order."""
    time = None if pairs.time is None else pairs.time[rows]
    found = Pairs(np.asarray(pairs.user[rows]), np.asarray(pairs.item[rows]), time)
    for values in (pairs.item, pairs.time):
        if values is not None:
            release(values)
    return found
