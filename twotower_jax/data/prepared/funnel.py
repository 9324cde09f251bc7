"""Rows of a log's funnel, sorted by user and request, from which pools are made."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from twotower_jax.arrays.mapped import (
    blocks,
    new_map,
    ranges_of_users,
    release,
    rows_of_users,
)
from twotower_jax.data.drafts import draft_of
from twotower_jax.data.funnel_rows import (
    FunnelColumns,
    FunnelRows,
    funnel_columns,
    later_rows,
)
from twotower_jax.data.log import FunnelLog, Pairs, Split, Stage
from twotower_jax.data.prepared.arrays import load_columns, save_array

Table = TypeVar("Table", FunnelLog, Pairs)
FUNNEL, REQUEST, CLICKED = "funnel", "positive_request", Stage.CLICKED
# Types of the columns, in the order of `FunnelColumns`.
KINDS = {
    "user": "<i4",
    "item": "<i4",
    "stage": "|i1",
    "rank": "<i4",
    "request": "<i8",
    "later": "|b1",
    "held_out": "|b1",
}


class _Part(NamedTuple):
    """Rows of a range of users, and their training positives.

    Attributes:
      columns: of the rows, sorted by user and request.
      positives: [m] numbers of the positives.
      request: [m] codes of their requests, or None.
    """

    columns: FunnelColumns
    positives: np.ndarray
    request: np.ndarray | None


def save_funnel(out: Path, log: FunnelLog, parts: Split) -> None:
    """Write the rows of a log as hard negatives see them, some users at a time.

    Nothing is written for a log of clicks alone.
    """
    if not _has_rejected(log):
        return
    folder, train = out / FUNNEL, parts.train
    folder.mkdir(parents=True, exist_ok=True)
    absent = {"rank"} if log.rank is None else set()
    if log.request is None or train.request is None:
        absent |= {"request", REQUEST}
    sizes = dict.fromkeys(KINDS, len(log.user)) | {REQUEST: len(train)}
    kinds = KINDS | {REQUEST: "<i8"}
    ends = [0]
    with ExitStack() as drafts:
        maps = {}
        for name in sizes.keys() - absent:
            draft = drafts.enter_context(draft_of(folder / f"{name}.npy"))
            maps[name] = new_map(draft, sizes[name], kinds[name])
        for part in _parts(log, parts, later_rows(log, parts)):
            ends.append(ends[-1] + len(part.columns.user))
            for name, values in part.columns._asdict().items():
                if values is not None:
                    maps[name][ends[-2] : ends[-1]] = values
            if part.request is not None:
                maps[REQUEST][part.positives] = part.request
            for values in maps.values():
                values.flush()
                release(values)
    save_array(folder / "positive_user.npy", train.user)
    save_array(folder / "ends.npy", np.array(ends[1:]))


def _has_rejected(log: FunnelLog) -> bool:
    """Return whether a log has a row that is not a click."""
    return any((log.stage[rows] != CLICKED).any() for rows in blocks(len(log.stage)))


def _parts(log: FunnelLog, split: Split, later: np.ndarray) -> Iterator[_Part]:
    """Yield the rows of ranges of users."""
    number = 0  # of the requests of earlier ranges
    for first, end in ranges_of_users([log.user], log.num_users):
        rows = rows_of_users(log.user, first, end)
        positives = rows_of_users(split.train.user, first, end)
        columns, request = funnel_columns(
            _take(log, ("user", "item", "stage", "rank", "request"), rows),
            _take(split.train, ("user", "item", "request"), positives),
            later[rows],
            _earlier(split.before, first, end),
        )
        order = columns.user if columns.request is None else columns.request
        if columns.request is not None and request is not None:
            columns = columns._replace(request=columns.request + number)
            request = request + number
            number += int(order.max(initial=-1)) + 1
        yield _Part(columns.take(np.argsort(order, kind="stable")), positives, request)


def _earlier(before: Pairs | None, first: int, end: int) -> Pairs | None:
    """Return the positives of a range of users that are not trained on."""
    if before is None:
        return None
    rows = rows_of_users(before.user, first, end)
    return _take(before, ("user", "item", "request"), rows)


def _take(table: Table, names: Sequence[str], rows: np.ndarray) -> Table:
    """Return some columns of a log, or of pairs, for some rows."""
    found = {}
    for name in names:
        if (values := getattr(table, name)) is not None:
            found[name] = values[rows]
            release(values)
    return replace(table, **found)


def load_funnel(out: Path) -> FunnelRows | None:
    """Return the rows of a prepared log as hard negatives see them."""
    folder = out / FUNNEL
    if not folder.is_dir():
        return None
    found = load_columns(folder, (*KINDS, "positive_user", REQUEST, "ends"))
    columns: dict[str, Any] = {name: found.get(name) for name in KINDS}
    return FunnelRows(
        FunnelColumns(**columns),
        found["positive_user"],
        found.get(REQUEST),
        found["ends"],
    )
