"""Users of a large log in ranges, whose rows are gathered some at a time."""

from collections.abc import Iterator, Sequence

import numpy as np

from twotower_jax.data import mapped
from twotower_jax.data.mapped import blocks, release


def ranges_of_users(
    users: Sequence[np.ndarray], num_users: int, rows: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield ranges of users with at most so many rows together, or of one user."""
    most = mapped.ROWS if rows is None else rows
    number = np.zeros(num_users, np.int64)
    for user in users:
        for some in blocks(len(user)):
            number += np.bincount(user[some], minlength=num_users)
    total, first = np.concatenate([[0], np.cumsum(number)]), 0
    while first < num_users:
        end = int(np.searchsorted(total, total[first] + most, side="right")) - 1
        end = max(end, first + 1)
        yield first, end
        first = end


def rows_of_users(user: np.ndarray, first: int, end: int) -> np.ndarray:
    """Return the rows of a range of users."""
    found = []
    for rows in blocks(len(user)):
        part = user[rows]
        found.append(rows.start + np.flatnonzero((part >= first) & (part < end)))
    release(user)
    return np.concatenate(found) if found else np.zeros(0, np.int64)
