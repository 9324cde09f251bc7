"""Rows of a log's funnel, sorted by user and request, from which pools are made."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twotower_jax.data.drafts import draft_of
from twotower_jax.data.funnel_rows import (
    FunnelRows,
    later_rows,
    request_codes,
    rows_of_held_out_requests,
)
from twotower_jax.data.log import FunnelLog, Pairs, Split, Stage
from twotower_jax.data.mapped import release
from twotower_jax.data.prepared.arrays import load_columns, save_array
from twotower_jax.data.prepared.ranges import (
    ROWS,
    new_map,
    ranges_of_users,
    rows_of_users,
)

FUNNEL = "funnel"
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
    """Rows of a range of users, and the requests of its positives."""

    columns: dict[str, np.ndarray]
    positives: np.ndarray
    positive_request: np.ndarray | None


def save_funnel(out: Path, log: FunnelLog, parts: Split) -> None:
    """Write the rows of a log as hard negatives see them, some users at a time.

    A log of positives alone has none.

    Args:
      out: the prepared folder.
      log: rows of all stages.
      parts: its split.
    """
    if not _has_rejected(log):
        return
    folder, train = out / FUNNEL, parts.train
    folder.mkdir(parents=True, exist_ok=True)
    requests = log.request is not None and train.request is not None
    names = [name for name in KINDS if name not in ("rank", "request")]
    names += ["rank"] * (log.rank is not None) + ["request"] * requests
    ends = [0]
    with ExitStack() as drafts:

        def column(name: str, rows: int, kind: str) -> np.memmap:
            draft = drafts.enter_context(draft_of(folder / f"{name}.npy"))
            return new_map(draft, rows, kind)

        columns = {name: column(name, len(log.user), KINDS[name]) for name in names}
        positive = column("positive_request", len(train), "<i8") if requests else None
        for part in _parts(log, parts.train, later_rows(log, parts)):
            end = ends[-1] + len(part.columns["user"])
            for name, values in columns.items():
                values[ends[-1] : end] = part.columns[name]
                values.flush()
                release(values)
            if positive is not None:
                positive[part.positives] = part.positive_request
            ends.append(end)
        if positive is not None:
            positive.flush()
    save_array(folder / "positive_user.npy", train.user)
    save_array(folder / "ends.npy", np.array(ends[1:]))


def _has_rejected(log: FunnelLog) -> bool:
    """Return whether any row is no positive."""
    blocks = range(0, len(log.stage), ROWS)
    return any((log.stage[row : row + ROWS] != Stage.CLICKED).any() for row in blocks)


def _parts(log: FunnelLog, train: Pairs, later: np.ndarray) -> Iterator[_Part]:
    """Yield the rows of ranges of users, sorted by user and request."""
    number = 0
    for first, end in ranges_of_users(log.user, log.num_users):
        rows = rows_of_users(log.user, first, end)
        positives = rows_of_users(train.user, first, end)
        of_log = {
            name: getattr(log, name) for name in ("user", "item", "stage", "rank")
        }
        columns = {
            name: values[rows] for name, values in of_log.items() if values is not None
        }
        columns["later"], columns["held_out"] = later[rows], np.zeros(len(rows), bool)
        order, request = columns["user"], None
        if log.request is not None and train.request is not None:
            own, request = request_codes(
                columns["user"],
                log.request[rows],
                train.user[positives],
                train.request[positives],
            )
            columns["held_out"] = rows_of_held_out_requests(
                columns["stage"], own, request
            )
            columns["request"], request = own + number, request + number
            number = int(columns["request"].max(initial=number - 1)) + 1
            order = own
        place = np.argsort(order, kind="stable")
        for values in (log.item, log.stage, log.rank, log.request, train.request):
            if values is not None:
                release(values)
        yield _Part(
            {name: values[place] for name, values in columns.items()},
            positives,
            request,
        )


def load_funnel(out: Path) -> FunnelRows | None:
    """Return the rows of a prepared log as hard negatives see them.

    Args:
      out: the folder.

    Returns:
      Memory maps; None of a log of positives alone, and of a folder that was prepared
      without them.
    """
    folder = out / FUNNEL
    if not folder.is_dir():
        return None
    found: dict[str, Any] = {"rank": None, "request": None, "positive_request": None}
    return FunnelRows(**found | load_columns(folder, FunnelRows._fields))
