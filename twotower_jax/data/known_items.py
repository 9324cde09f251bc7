"""Items that exist at a moment: those whose first event is not later.

Items stand in the order of their first events, so that those known at a moment are the
first ones, a prefix of this order.
"""

from typing import NamedTuple

import numpy as np

from twotower_jax.arrays.mapped import blocks, release
from twotower_jax.data.log import FunnelLog


class KnownItems(NamedTuple):
    """Items known at the moments of the training positives.

    Attributes:
      place: [num_items] int32 place of an item in the order of first events.
      number: [n] int32 number of items known at each positive: places below it.
    """

    place: np.ndarray
    number: np.ndarray


def first_events(log: FunnelLog) -> np.ndarray:
    """Return the time of the first event of each item, [num_items] float64.

    The first event of an item is its first row of the log, of any stage: an item that
    was shown, or only retrieved, exists. Rows of the valid and test parts count too, so
    that an item of later times is known as such. It is inf where an item has no row.
    """
    if log.time is None:
        raise ValueError("the log has no times")
    first = np.full(log.num_items, np.inf)
    for rows in blocks(len(log.item)):
        np.minimum.at(first, log.item[rows], log.time[rows])
    release(log.item)
    release(log.time)
    return first


def known_items(first: np.ndarray, times: np.ndarray) -> KnownItems:
    """Items known at moments: those whose first event is not later.

    Args:
      first: [num_items] float64 time of the first event; inf for an item without one,
        which is never known. Items of one time: the lower id stands first.
      times: [n] float64 moments.

    Examples:
      >>> known = known_items(np.array([5.0, 1.0, np.inf]), np.array([1.0, 9.0]))
      >>> known.place.tolist(), known.number.tolist()
      ([1, 0, 2], [1, 2])
    """
    order = np.argsort(first, kind="stable")
    place, number = np.empty(len(first), np.int32), np.empty(len(times), np.int32)
    place[order] = np.arange(len(first))
    ordered = first[order]
    for rows in blocks(len(times)):
        number[rows] = np.searchsorted(ordered, times[rows], side="right")
    release(times)
    return KnownItems(place, number)


def known_share(known: KnownItems) -> dict[str, float]:
    """Shares of the catalogue that the training positives know.

    Examples:
      >>> known = known_items(np.array([5.0, 1.0, 7.0, 8.0]), np.array([1.0, 7.0]))
      >>> known_share(known)
      {'mean share': 0.5, 'last share': 0.75}
    """
    share = known.number / len(known.place)
    return {"mean share": float(share.mean()), "last share": float(share.max())}
