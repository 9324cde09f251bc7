"""Users of a large log in ranges, whose rows are gathered some at a time."""

from collections.abc import Iterator

import numpy as np

from twotower_jax.data import mapped
from twotower_jax.data.mapped import blocks, release


def ranges_of_users(user: np.ndarray, num_users: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of users with at most `mapped.ROWS` rows together, or of one user.

    Args:
      user: [rows] codes.
      num_users: of the log.
    """
    number = np.zeros(num_users, np.int64)
    for rows in blocks(len(user)):
        number += np.bincount(user[rows], minlength=num_users)
    total, first = np.concatenate([[0], np.cumsum(number)]), 0
    while first < num_users:
        most = total[first] + mapped.ROWS
        end = int(np.searchsorted(total, most, side="right")) - 1
        end = max(end, first + 1)
        yield first, end
        first = end


def rows_of_users(user: np.ndarray, first: int, end: int) -> np.ndarray:
    """Return the rows of a range of users.

    Args:
      user: [rows] codes.
      first, end: of the range.
    """
    found = []
    for rows in blocks(len(user)):
        part = user[rows]
        found.append(rows.start + np.flatnonzero((part >= first) & (part < end)))
    release(user)
    return np.concatenate(found) if found else np.zeros(0, np.int64)
