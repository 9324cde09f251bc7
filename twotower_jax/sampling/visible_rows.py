"""Rows of a log that training may use as hard negatives, without the held-out part.

* Rows that training could not have seen are left out. If the training positives are
  those of given parts of the data, the rows of other parts are. Else, if all held-out
  positives are later than all training positives (a temporal split), rows later than
  the last training positive are. Under any other split, where each user has a history
  of their own, rows later than the last training positive of their user are. Without
  times and parts there is no order, and only the next rule applies.
* Rows of a request in which a positive was held out are left out, because they are the
  items that the held-out positive was preferred to. Where the log has no requests, they
  may be among the user's rows of the same time, so those are left out.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.log import FunnelLog, Split, Stage
from twotower_jax.data.split import TRAIN, VALID


class Groups(NamedTuple):
    """Codes from 0 of the groups that share a pool: users, or requests of one user.

    Attributes:
      of_row: [rows] int64, of every row of the log.
      of_positive: [n] int64, of every training positive.
    """

    of_row: np.ndarray
    of_positive: np.ndarray


def request_codes(log: FunnelLog, split: Split) -> Groups | None:
    """Code the requests of a log. Two users may have requests of the same number.

    Args:
      log: rows of all stages.
      split: of the same log.

    Returns:
      The codes; None where the log has no requests.
    """
    if log.request is None or split.train.request is None:
        return None
    user = np.concatenate([log.user, split.train.user]).astype(np.int64)
    request = dense_ranks(np.concatenate([log.request, split.train.request]))
    codes = dense_ranks(user * (request.max() + 1) + request)
    return Groups(codes[: len(log.user)], codes[len(log.user) :])


def dense_ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value among the distinct ones, [n] int64 from 0.

    Examples:
      >>> dense_ranks(np.array([70, -3, 70, 8])).tolist()
      [2, 0, 2, 1]
    """
    return pl.Series(values).rank("dense").cast(pl.Int64).to_numpy() - 1


def visible_rows(log: FunnelLog, split: Split) -> np.ndarray:
    """Whether each row is at or before the end of training, see the module.

    Args:
      log: rows of all stages.
      split: of the same log.

    Returns:
      [rows] bool.
    """
    train = split.train
    given = _rows_of_given_parts(log, split)
    if given is not None:
        return given
    if log.time is None or train.time is None:
        return np.ones(len(log.user), bool)
    last = np.full(log.num_users, -np.inf)
    np.maximum.at(last, train.user, train.time)
    first = np.full(log.num_users, np.inf)
    for part in (split.valid, split.test):
        if part.time is not None:
            np.minimum.at(first, part.user, part.time)
    if first.min() > last.max():
        last[:] = last.max()
    visible = log.time <= last[log.user]
    if log.request is None:
        visible &= log.time < first[log.user]
    return visible


def _rows_of_given_parts(log: FunnelLog, split: Split) -> np.ndarray | None:
    """Return the rows [rows] bool of the parts of the data that make up training.

    None where training is not all positives of the first part, or of it and the
    second (`data.fit_valid`).
    """
    if log.part is None:
        return None
    for last in (TRAIN, VALID):
        visible = log.part <= last
        rows = visible & (log.stage == Stage.CLICKED)
        if np.array_equal(log.user[rows], split.train.user) and np.array_equal(
            log.item[rows], split.train.item
        ):
            return visible
    return None


def rows_of_training_requests(log: FunnelLog, requests: Groups | None) -> np.ndarray:
    """Whether all positives of each row's request are training positives.

    Args:
      log: rows of all stages.
      requests: their codes; None where the log has none, and every row is kept.

    Returns:
      [rows] bool.
    """
    if requests is None:
        return np.ones(len(log.user), bool)
    clicks = np.bincount(
        requests.of_row[log.stage == Stage.CLICKED],
        minlength=requests.of_row.max() + 1,
    )
    trained = np.bincount(requests.of_positive, minlength=len(clicks))
    return (clicks == trained)[requests.of_row]


def rows_of_groups(group: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Whether the group of each row is among the given ones.

    Args:
      group: [rows] int64, of each row, from 0.
      groups: [n] int64.

    Returns:
      [rows] bool.

    Examples:
      >>> rows_of_groups(np.array([0, 1, 2, 1]), np.array([1])).tolist()
      [False, True, False, True]
    """
    return (np.bincount(groups, minlength=group.max() + 1) > 0)[group]
