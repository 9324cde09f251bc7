"""Histories: the items that a user clicked before the time of a query."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from twotower_jax.arrays.mapped import ranges_of_users, release, rows_of_users
from twotower_jax.data.log import Pairs


class History(NamedTuple):
    """Clicks of all users in order of time, and the part that each query may see.

    Attributes:
      items: [clicks] int32, sorted by user, then time.
      begin, end: [queries] int32; a query sees ``items[begin:end]``, latest last.
    """

    items: np.ndarray
    begin: np.ndarray
    end: np.ndarray


def make_history(events: Pairs, users: np.ndarray, times: np.ndarray | None) -> History:
    """Clicks of the user that each query may see.

    With times, a query at time t sees the clicks strictly before t, so never the
    predicted click, a later one, or one of the same moment. ``times=None`` stands for
    queries after all clicks (evaluation), or a log without times, where the history
    is the set of the user's other positives; the predicted item is then left out when
    the batch is made.

    Examples:
      >>> user, item, time = (np.array(x) for x in ([0, 0, 1], [5, 6, 7], [1, 3, 2]))
      >>> clicks = Pairs(user, item, time.astype(float))
      >>> history = make_history(clicks, np.array([0, 1]), np.array([3.0, 9.0]))
      >>> [history.items[b:e].tolist() for b, e in zip(history.begin, history.end)]
      [[5], [7]]
    """
    if times is None:
        events = _of_users(events, users)
    event_code, query_code, width = _time_codes(events, times, len(users))
    time_order = (
        event_code
        if events.time is None
        else np.argsort(np.argsort(events.time, kind="stable"), kind="stable")
    )
    order = np.lexsort((time_order, events.user))
    keys = events.user.astype(np.int64) * width + event_code
    sorted_keys = keys[order]
    first = users.astype(np.int64) * width
    return History(
        items=events.item[order].astype(np.int32),
        begin=np.searchsorted(sorted_keys, first).astype(np.int32),
        end=np.searchsorted(sorted_keys, first + query_code).astype(np.int32),
    )


def history_of_events(events: Pairs) -> History:
    """`make_history` of the events themselves, each at its own time, by one sort.

    Examples:
      >>> user, item, time = (np.array(x) for x in ([0, 0, 0], [5, 6, 7], [1, 3, 3]))
      >>> history = history_of_events(Pairs(user, item, time.astype(float)))
      >>> history.begin.tolist(), history.end.tolist()
      ([0, 0, 0], [0, 1, 1])
    """
    if events.time is None:
        return make_history(events, events.user, None)
    order = np.lexsort((events.time, events.user))
    user, time = events.user[order], events.time[order]
    place = np.arange(len(order))
    first = np.append(True, user[1:] != user[:-1])[: len(order)]
    earlier = first | np.append(True, time[1:] != time[:-1])[: len(order)]
    begin, end = np.empty((2, len(order)), np.int32)
    # A query sees its user's events before the first one of its moment.
    begin[order] = np.maximum.accumulate(np.where(first, place, 0))
    end[order] = np.maximum.accumulate(np.where(earlier, place, 0))
    return History(events.item[order].astype(np.int32), begin, end)


def _of_users(events: Pairs, users: np.ndarray) -> Pairs:
    """Return the events of some users, which are fewer to sort."""
    asked = np.zeros(1 + max(events.user.max(initial=0), users.max(initial=0)), bool)
    asked[users] = True
    kept = asked[events.user]
    if kept.all():
        return events
    time = None if events.time is None else events.time[kept]
    return Pairs(events.user[kept], events.item[kept], time)


def _time_codes(
    events: Pairs, times: np.ndarray | None, queries: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return codes of the times of events and queries, and the number of codes.

    A query sees the events with a lower code; without times it sees all.
    """
    if events.time is None or times is None:
        return np.zeros(len(events), np.int64), np.ones(queries, np.int64), 1
    moments = np.unique(events.time)
    event_code = np.searchsorted(moments, events.time)
    return event_code, np.searchsorted(moments, times, side="left"), len(moments) + 1


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
