"""Repeated positives of a user and an item, and ids that training lacks."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from twotower_jax.data.build import present
from twotower_jax.data.log import FunnelLog

AT_A_TIME = 2**24  # rows of a log that are looked at together, to bound the memory


def _keys(log: FunnelLog, rows: np.ndarray) -> np.ndarray:
    return log.user[rows].astype(np.int64) * log.num_items + log.item[rows]


def _distinct(log: FunnelLog, rows: np.ndarray) -> np.ndarray:
    """Return the first row of each (user, item), in order of the log."""
    return rows[pl.Series(_keys(log, rows)).is_first_distinct().to_numpy()]


def without_repeats(
    log: FunnelLog, rows: np.ndarray, repeats: str | None
) -> np.ndarray:
    """Return the first or the last positive of each (user, item), in order of rows."""
    if repeats not in ("first", "last"):
        return rows
    if log.time is not None:
        rows = rows[np.argsort(log.time[rows], kind="stable")]
    pairs = pl.Series(_keys(log, rows))
    kept = pairs.is_first_distinct() if repeats == "first" else pairs.is_last_distinct()
    return np.sort(rows[kept.to_numpy()])


def _unseen(
    log: FunnelLog, train: np.ndarray, rows: np.ndarray, name: str
) -> dict[str, int]:
    """Count the users and items of a part that training lacks, and common pairs."""
    own = _keys(log, rows)
    places = range(0, len(train), AT_A_TIME)
    again = among(own, (_keys(log, train[p : p + AT_A_TIME]) for p in places))
    new = {
        side: present(codes[rows], number) & ~present(codes[train], number)
        for side, codes, number in (
            ("users", log.user, log.num_users),
            ("items", log.item, log.num_items),
        )
    }
    return {
        f"{side} of {name} unseen in train": int(n.sum()) for side, n in new.items()
    } | {f"{name} positives also in train": int(again.sum())}


def among(keys: np.ndarray, others: Iterable[np.ndarray]) -> np.ndarray:
    """Return which keys are among others, [n] bool.

    Examples:
      >>> among(np.array([3, 4]), [np.array([1]), np.array([9, 4])]).tolist()
      [False, True]
    """
    own = pl.Series(keys)
    wanted, found = own.implode(), [own.clear()]
    for part in map(pl.Series, others):
        found.append(part.filter(part.is_in(wanted)).unique())
    return own.is_in(pl.concat(found).implode()).to_numpy()


def without_duplicates(
    log: FunnelLog,
    train: np.ndarray,
    rows: np.ndarray,
    name: str,
    report: dict[str, int],
) -> np.ndarray:
    """Return the first row of each pair of a part, and add its counts to the report."""
    distinct = _distinct(log, rows)
    report[f"duplicate {name} positives"] = len(rows) - len(distinct)
    report |= _unseen(log, train, distinct, name)
    return distinct
