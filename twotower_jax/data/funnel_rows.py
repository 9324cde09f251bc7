"""Rows of a log as hard negatives of its training positives, without the held-out part.

* Rows that training could not have seen are left out. If the training positives are
  those of given parts of the data, the rows of other parts are. Else, if all held-out
  positives are later than all training positives (a temporal split), rows later than
  the last training positive are. Under any other split, where each user has a history
  of their own, rows later than the last training positive of their user are. A log
  without times and parts has no order, and this rule leaves none of its rows out.
* Rows of a request in which a positive was held out are left out, because they are the
  items that the held-out positive was preferred to. Where the log has no requests, they
  may be among the user's rows of the same time, so those are left out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import polars as pl

from twotower_jax.arrays.mapped import blocks, release
from twotower_jax.data.log import FunnelLog, Pairs, Split, Stage
from twotower_jax.data.split import TRAIN, VALID


class FunnelColumns(NamedTuple):
    """Columns of rows of a log, as hard negatives of training positives.

    Attributes:
      user: [rows] int32.
      item: [rows] int32.
      stage: [rows] int8, furthest stage.
      rank: [rows] int32, or None.
      request: [rows] int64 codes from 0, ascending with the user and then the request;
        None where the log has no requests.
      later: [rows] bool, of rows that training could not have seen.
      held_out: [rows] bool, of rows of a request with a held-out positive.
    """

    user: np.ndarray
    item: np.ndarray
    stage: np.ndarray
    rank: np.ndarray | None
    request: np.ndarray | None
    later: np.ndarray
    held_out: np.ndarray

    def take(self, rows: slice | np.ndarray) -> "FunnelColumns":
        """Return some of the rows."""
        return jax.tree.map(lambda values: values[rows], self)


class FunnelRows(NamedTuple):
    """Rows of a log, in parts with all rows of their users, and training positives.

    Attributes:
      columns: of the rows.
      positive_user: [n] int32, of each training positive.
      positive_request: [n] int64 codes, or None.
      ends: [parts] end row of each part; the users of a part are above those before it.
    """

    columns: FunnelColumns
    positive_user: np.ndarray
    positive_request: np.ndarray | None
    ends: np.ndarray

    def parts(self) -> Iterator[FunnelColumns]:
        """Yield the rows of each part; pages of memory maps are given back."""
        begin = 0
        for end in map(int, self.ends):
            yield self.columns.take(slice(begin, end))
            for values in self.columns:
                if values is not None:
                    release(values)
            begin = end


def funnel_rows(log: FunnelLog, split: Split) -> FunnelRows:
    """Return all rows of a log as one part."""
    later = later_rows(log, split)
    columns, requests = funnel_columns(log, split.train, later, split.before)
    ends = np.array([len(log.user)])
    return FunnelRows(columns, split.train.user, requests, ends)


def funnel_columns(
    log: FunnelLog, train: Pairs, later: np.ndarray, before: Pairs | None = None
) -> tuple[FunnelColumns, np.ndarray | None]:
    """Return the columns of rows, and the codes of the requests of positives."""
    own = positive = None
    held_out = np.zeros(len(log.user), bool)
    if log.request is not None and train.request is not None:
        users, requests = train.user, train.request
        if before is not None and before.request is not None:
            users = np.concatenate([users, before.user])
            requests = np.concatenate([requests, before.request])
        own, codes = request_codes(log.user, log.request, users, requests)
        held_out = rows_of_held_out_requests(log.stage, own, codes)
        positive = codes[: len(train)]
    columns = FunnelColumns(
        log.user, log.item, log.stage, log.rank, own, later, held_out
    )
    return columns, positive


def request_codes(
    user: np.ndarray,
    request: np.ndarray,
    positive_user: np.ndarray,
    positive_request: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Code requests. Two users may have requests of the same number."""
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
    """Return whether each row is of a part, or of a time, after that of training.

    That is the first rule of the module, and in a log without requests the second.
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
    for rows in blocks(len(later)):
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
        if _same_pairs(log.user[rows], log.item[rows], split):
            return visible
    return None


def _same_pairs(user: np.ndarray, item: np.ndarray, split: Split) -> bool:
    """Return whether clicks are the positives up to the end of training."""
    known = split.known
    if split.before is not None and len(user) == len(known):
        # Those that are not trained on stand apart from the others.
        order = np.lexsort((item, user))
        user, item = user[order], item[order]
        order = np.lexsort((known.item, known.user))
        known = Pairs(known.user[order], known.item[order])
    return np.array_equal(user, known.user) and np.array_equal(item, known.item)


def rows_of_held_out_requests(
    stage: np.ndarray, request: np.ndarray, positive_request: np.ndarray
) -> np.ndarray:
    """Return whether each row's request has a click outside these positives."""
    clicks = np.bincount(
        request[stage == Stage.CLICKED], minlength=request.max(initial=-1) + 1
    )
    trained = np.bincount(positive_request, minlength=len(clicks))
    return (clicks != trained)[request]
