"""Rows of a log as hard negatives of its training positives, without the held-out part.

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

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.log import FunnelLog, Split, Stage
from twotower_jax.data.mapped import release
from twotower_jax.data.split import TRAIN, VALID

# Rows whose times are compared at a time.
BLOCK = 2**24


class FunnelRows(NamedTuple):
    """Rows of a log, in parts with all rows of their users, and training positives.

    Attributes:
      user: [rows] int32.
      item: [rows] int32.
      stage: [rows] int8, furthest stage.
      rank: [rows] int32, or None.
      request: [rows] int64 codes from 0, ascending with the user and then the request;
        None where the log has no requests.
      later: [rows] bool, of rows that training could not have seen.
      held_out: [rows] bool, of rows of a request with a held-out positive.
      positive_user: [n] int32, of each training positive.
      positive_request: [n] int64 codes, or None.
      ends: [parts] end row of each part; the users of a part are above those before it.
    """

    user: np.ndarray
    item: np.ndarray
    stage: np.ndarray
    rank: np.ndarray | None
    request: np.ndarray | None
    later: np.ndarray
    held_out: np.ndarray
    positive_user: np.ndarray
    positive_request: np.ndarray | None
    ends: np.ndarray

    def parts(self) -> Iterator["FunnelRows"]:
        """Yield the rows of each part; pages of memory maps are given back."""
        begin = 0
        for end in self.ends:
            rows = slice(begin, int(end))
            yield self._replace(
                user=self.user[rows],
                item=self.item[rows],
                stage=self.stage[rows],
                rank=None if self.rank is None else self.rank[rows],
                request=None if self.request is None else self.request[rows],
                later=self.later[rows],
                held_out=self.held_out[rows],
                ends=self.ends[:0],
            )
            for values in self[:7]:
                if values is not None:
                    release(values)
            begin = int(end)


def funnel_rows(log: FunnelLog, split: Split) -> FunnelRows:
    """Return all rows of a log as one part.

    Args:
      log: rows of all stages.
      split: of the same log.
    """
    train = split.train
    own = positive = None
    held_out = np.zeros(len(log.user), bool)
    if log.request is not None and train.request is not None:
        own, positive = request_codes(log.user, log.request, train.user, train.request)
        held_out = rows_of_held_out_requests(log.stage, own, positive)
    return FunnelRows(
        log.user,
        log.item,
        log.stage,
        log.rank,
        own,
        later_rows(log, split),
        held_out,
        train.user,
        positive,
        np.array([len(log.user)]),
    )


def request_codes(
    user: np.ndarray,
    request: np.ndarray,
    positive_user: np.ndarray,
    positive_request: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Code requests. Two users may have requests of the same number.

    Args:
      user, request: [rows] of rows.
      positive_user, positive_request: [n] of positives.

    Returns:
      Codes [rows] and [n] int64 from 0, ascending with the user and then the request.
    """
    users = np.concatenate([user, positive_user]).astype(np.int64)
    number = dense_ranks(np.concatenate([request, positive_request]))
    codes = dense_ranks(users * (number.max() + 1) + number)
    return codes[: len(user)], codes[len(user) :]


def dense_ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value among the distinct ones, [n] int64 from 0.

    Examples:
      >>> dense_ranks(np.array([70, -3, 70, 8])).tolist()
      [2, 0, 2, 1]
    """
    return pl.Series(values).rank("dense").cast(pl.Int64).to_numpy() - 1


def later_rows(log: FunnelLog, split: Split) -> np.ndarray:
    """Whether each row is one that training could not have seen, see the module.

    Args:
      log: rows of all stages.
      split: of the same log.

    Returns:
      [rows] bool.
    """
    train = split.train
    given = _rows_of_given_parts(log, split)
    if given is not None:
        return ~given
    if log.time is None or train.time is None:
        return np.zeros(len(log.user), bool)
    last = np.full(log.num_users, -np.inf)
    np.maximum.at(last, train.user, train.time)
    first = np.full(log.num_users, np.inf)
    for part in (split.valid, split.test):
        if part.time is not None:
            np.minimum.at(first, part.user, part.time)
    if first.min() > last.max():
        last[:] = last.max()
    later = np.empty(len(log.user), bool)
    for begin in range(0, len(later), BLOCK):
        rows = slice(begin, begin + BLOCK)
        user, time = log.user[rows], log.time[rows]
        later[rows] = time > last[user]
        if log.request is None:
            later[rows] |= time >= first[user]
    release(log.user)
    release(log.time)
    return later


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


def rows_of_held_out_requests(
    stage: np.ndarray, request: np.ndarray, positive_request: np.ndarray
) -> np.ndarray:
    """Whether a positive of each row's request is not a training positive.

    Args:
      stage: [rows] furthest stage.
      request: [rows] codes from 0.
      positive_request: [n] codes of the training positives.

    Returns:
      [rows] bool.
    """
    clicks = np.bincount(
        request[stage == Stage.CLICKED], minlength=request.max(initial=-1) + 1
    )
    trained = np.bincount(positive_request, minlength=len(clicks))
    return (clicks != trained)[request]
