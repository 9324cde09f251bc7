"""Positives of each user in their order, made some users at a time."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from twotower_jax.data.history import History
from twotower_jax.data.log import Pairs
from twotower_jax.data.mapped import release
from twotower_jax.data.user_ranges import ranges_of_users, rows_of_users

# Rows that are sorted at a time: about 250 MB with what is made of them.
ROWS = 2**21


class Places(NamedTuple):
    """Places of events in the order of all users: by user, then time, then row.

    Attributes:
      rows: [n] int64 rows of the events, counted over all parts.
      item: [n] their items.
      place: [n] int64.
      begin, end: [n] int64 place of the first event of the user, and behind the last.
    """

    rows: np.ndarray
    item: np.ndarray
    place: np.ndarray
    begin: np.ndarray
    end: np.ndarray


def places_of_users(parts: Sequence[Pairs], num_users: int) -> Iterator[Places]:
    """Yield the places of all events, some users at a time.

    Examples:
      >>> user, item = np.array([1, 0, 1]), np.array([5, 6, 7])
      >>> events = Pairs(user, item, np.array([9.0, 1.0, 3.0]))
      >>> [one.place.tolist() for one in places_of_users([events], 2)]
      [[2, 0, 1]]
      >>> [one.place.tolist() for one in places_of_users([Pairs(user, item)], 2)]
      [[1, 0, 2]]
    """
    timed = all(part.time is not None for part in parts)
    done = 0
    users = [part.user for part in parts]
    for first, last in ranges_of_users(users, num_users, ROWS):
        taken = [_taken(part, timed, first, last) for part in parts]
        offsets = np.cumsum([0, *(len(part) for part in parts)])[:-1]
        rows = np.concatenate(
            [one[0] + offset for one, offset in zip(taken, offsets, strict=True)]
        )
        user, item, time = (
            np.concatenate([one[column] for one in taken]) for column in (1, 2, 3)
        )
        # The sort keeps the order of rows where all else is equal.
        order = np.lexsort((time, user) if timed else (user,))
        place = np.empty(len(rows), np.int64)
        place[order] = np.arange(done, done + len(rows))
        number = np.bincount(user - first, minlength=last - first)
        end = done + np.cumsum(number)
        of_user = user - first
        yield Places(rows, item, place, (end - number)[of_user], end[of_user])
        done += len(rows)


def make_sequences(parts: Sequence[Pairs], length: int, num_users: int) -> History:
    """Sequences of the items before each target: those of its user's newest items.

    Equal times are in the order of rows. With n events of a user, all of its targets
    see the same first event, the one at place n - 1 - ``length`` or 0 of them.

    Examples:
      >>> user, item = np.zeros(4, int), np.array([5, 6, 7, 8])
      >>> before, targets = Pairs(user[:2], item[:2]), Pairs(user[2:], item[2:])
      >>> seen = make_sequences([before, targets], length=2, num_users=1)
      >>> [seen.items[b:e].tolist() for b, e in zip(seen.begin, seen.end)]
      [[6], [6, 7]]
    """
    number, targets = sum(map(len, parts)), len(parts[-1])
    items = np.empty(number, np.int32)
    begin, end = np.empty((2, targets), np.int32)
    for some in places_of_users(parts, num_users):
        items[some.place] = some.item
        own = some.rows >= number - targets
        rows = some.rows[own] - (number - targets)
        begin[rows] = np.maximum(some.begin, some.end - 1 - length)[own]
        end[rows] = some.place[own]
    return History(items, begin, end)


def _taken(
    part: Pairs, timed: bool, first: int, last: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, users, items and times of a range of users."""
    rows = rows_of_users(part.user, first, last)
    time = part.time[rows] if timed and part.time is not None else rows[:0]
    found = rows, np.asarray(part.user[rows]), np.asarray(part.item[rows]), time
    for values in (part.user, part.item, part.time):
        if values is not None:
            release(values)
    return found
