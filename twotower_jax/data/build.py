"""A validated FunnelLog from a table with canonical columns, and its filters."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.encode import encode_features, encode_ids, encode_requests
from twotower_jax.data.log import Feature, FunnelLog, Stage
from twotower_jax.data.parse import fail_at, to_ids, to_rank, to_stage, to_time
from twotower_jax.errors import InputError

COLUMNS = ("user", "item", "time", "stage", "request", "rank", "part", "weight")


class SideTable(NamedTuple):
    """Features of the users or of the items.

    Attributes:
      table: one row per user or item: its id in column "user" or "item", and the
        features in the other columns.
      kinds: the kind of each feature to use. None uses all columns: lists are multi,
        floats numeric, all else categorical.
      where: name of the table in errors; None for that of the log.
    """

    table: pl.DataFrame
    kinds: dict[str, str] | None = None
    where: str | None = None


def _kinds(table: pl.DataFrame, key: str) -> dict[str, str]:
    """Return the kind of each column but the key by its type."""
    kinds = {}
    for name, dtype in table.schema.items():
        if isinstance(dtype, pl.List):
            kinds[name] = "multi"
        else:
            kinds[name] = "numeric" if dtype.is_float() else "categorical"
    return {name: kind for name, kind in kinds.items() if name != key}


def _requests(frame: pl.DataFrame, where: str) -> np.ndarray | None:
    if "request" not in frame.columns:
        return None
    return encode_requests(frame["request"], where)


def _ranks(frame: pl.DataFrame, where: str) -> np.ndarray | None:
    if "rank" not in frame.columns:
        return None
    values = to_rank(frame["rank"], where, "rank")
    return values.cast(pl.Int32).to_numpy()


def _parts(frame: pl.DataFrame, where: str) -> np.ndarray | None:
    if "part" not in frame.columns:
        return None
    values = frame["part"]
    bad = ~values.is_in([0, 1, 2]).fill_null(False)
    fail_at(
        bad,
        values,
        where,
        "part",
        "is not a part; give 0 (train), 1 (valid) or 2 (test)",
    )
    return values.cast(pl.Int8).to_numpy()


def _stages(frame: pl.DataFrame, where: str) -> np.ndarray:
    if "stage" not in frame.columns:
        return np.full(len(frame), int(Stage.CLICKED), np.int8)
    return to_stage(frame["stage"], where, "stage").to_numpy()


def _check_columns(frame: pl.DataFrame, where: str) -> None:
    for name in ("user", "item"):
        if name not in frame.columns:
            raise InputError(f"{where}: has no column {name!r}; give it")
    surplus = [name for name in frame.columns if name not in COLUMNS]
    if surplus:
        raise InputError(
            f"{where}: unknown columns {surplus}; the columns of a log are: "
            f"{', '.join(COLUMNS)}; leave out the others"
        )
    if len(frame) == 0:
        raise InputError(f"{where}: has no rows; give at least one positive")


def build_log(
    frame: pl.DataFrame,
    *,
    where: str,
    users: SideTable | None = None,
    items: SideTable | None = None,
    catalogue: pl.Series | None = None,
    dropped: dict[str, int] | None = None,
) -> FunnelLog:
    """Validated log of a table of rows, with ids replaced by codes.

    Args:
      frame: [rows] with columns user and item (any scalar type) and optionally time
        (numbers, dates or ISO text), stage (names or numbers of ``Stage``; without it
        all rows are positives), request (any type), rank (whole numbers from 0),
        part (0, 1, 2) and weight (of `to_weight`).

    Examples:
      >>> frame = pl.DataFrame({"user": ["u", "v", "u"], "item": [7, 7, 9]})
      >>> log = build_log(frame, where="example")
      >>> log.user.tolist(), log.item.tolist(), log.item_ids.to_list()
      ([0, 1, 0], [0, 0, 1], [7, 9])
      >>> Stage(log.stage[0]).name
      'CLICKED'
    """
    _check_columns(frame, where)
    user, user_ids = encode_ids(to_ids(frame["user"], where, "user"))
    item, item_ids = encode_ids(to_ids(frame["item"], where, "item"), catalogue)
    time = None
    if "time" in frame.columns:
        time = to_time(frame["time"], where, "time").to_numpy()
    return FunnelLog(
        user=user,
        item=item,
        stage=_stages(frame, where),
        user_ids=user_ids.rename("user"),
        item_ids=item_ids.rename("item"),
        time=time,
        request=_requests(frame, where),
        rank=_ranks(frame, where),
        part=_parts(frame, where),
        weight=frame["weight"].to_numpy() if "weight" in frame.columns else None,
        user_features=_features(users, "user", user_ids, where),
        item_features=_features(items, "item", item_ids, where),
        dropped=dict(dropped or {}),
    )


def _features(
    side: SideTable | None, key: str, ids: pl.Series, where: str
) -> dict[str, Feature]:
    """Return the features of the ids, in their order."""
    if side is None:
        return {}
    kinds = _kinds(side.table, key) if side.kinds is None else side.kinds
    return encode_features(side.table, key, ids, kinds, side.where or where)


def take_log(
    log: FunnelLog, rows: np.ndarray, users: np.ndarray, items: np.ndarray
) -> FunnelLog:
    """Log with some of its rows, users and items, and new codes in the same order."""

    def column(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    def features(table: dict[str, Feature], keep: np.ndarray) -> dict[str, Feature]:
        return {
            name: replace(feature, values=feature.values[keep])
            for name, feature in table.items()
        }

    new_user = (np.cumsum(users) - 1).astype(np.int32)
    new_item = (np.cumsum(items) - 1).astype(np.int32)
    return replace(
        log,
        user=new_user[log.user[rows]],
        item=new_item[log.item[rows]],
        stage=log.stage[rows],
        time=column(log.time),
        request=column(log.request),
        rank=column(log.rank),
        part=column(log.part),
        weight=column(log.weight),
        user_ids=log.user_ids.filter(pl.Series(users)),
        item_ids=log.item_ids.filter(pl.Series(items)),
        user_features=features(log.user_features, users),
        item_features=features(log.item_features, items),
    )


def present(codes: np.ndarray, num: int) -> np.ndarray:
    """Return whether each of the codes 0..num-1 occurs, [num] bool."""
    return np.bincount(codes, minlength=num) > 0


def filter_log(
    log: FunnelLog, *, min_user_positives: int, min_item_positives: int
) -> FunnelLog:
    """Log without the items and users that have few positives.

    Items are dropped first, then users by their remaining positives, each once. This
    is not a k-core: an item may end with fewer positives than the minimum, because
    users were dropped after it. A dropped item or user loses its rows of every stage.
    An item or user that loses its last row is dropped too; an item of the catalogue
    that never had a row stays. A minimum of 1 drops nothing, so that items and users
    that were only exposed stay. Numeric features keep their scale.

    Examples:
      >>> frame = pl.DataFrame({"user": [1, 1, 2], "item": [7, 8, 7]})
      >>> log = build_log(frame, where="example")
      >>> kept = filter_log(log, min_user_positives=1, min_item_positives=2)
      >>> kept.item_ids.to_list(), kept.dropped["items with fewer than 2 positives"]
      ([7], 1)
    """
    kept = _Kept(
        *(np.ones(n, bool) for n in (len(log.user), log.num_users, log.num_items))
    )
    dropped = dict(log.dropped)
    dropped |= _drop_rare(log, kept, "item", min_item_positives)
    dropped |= _drop_rare(log, kept, "user", min_user_positives)
    dropped |= _drop_empty(log, kept)
    if all(mask.all() for mask in kept):
        return replace(log, dropped=dropped)
    return replace(take_log(log, *kept), dropped=dropped)


class _Kept(NamedTuple):
    """Masks of the rows, users and items that are kept; changed in place."""

    rows: np.ndarray
    users: np.ndarray
    items: np.ndarray


def _drop_rare(log: FunnelLog, kept: _Kept, name: str, minimum: int) -> dict[str, int]:
    """Drop the items or users with fewer positives than the minimum, and count them."""
    if minimum <= 1:
        return {}
    codes = log.item if name == "item" else log.user
    alive = kept.items if name == "item" else kept.users
    positive = log.stage == Stage.CLICKED
    before = present(codes[kept.rows], len(alive)) | (name == "item")
    counts = np.bincount(codes[kept.rows & positive], minlength=len(alive))
    alive &= counts >= minimum
    gone = kept.rows & ~alive[codes]
    kept.rows[gone] = False
    if not (kept.rows & positive).any():
        raise InputError(
            f"data.min_{name}_positives={minimum} leaves no positive (the most "
            f"of one {name} is {counts.max(initial=0)}); lower it"
        )
    reason = f"{name}s with fewer than {minimum} positives"
    return {
        reason: int((before & ~alive).sum()),
        f"rows of {reason}": int(gone.sum()),
    }


def _drop_empty(log: FunnelLog, kept: _Kept) -> dict[str, int]:
    """Drop the items and users that lost their last row, and count them."""
    dropped = {}
    for name, codes, alive in (
        ("item", log.item, kept.items),
        ("user", log.user, kept.users),
    ):
        rows = present(codes[kept.rows], len(alive))
        lost = present(codes, len(alive)) & ~rows & alive
        alive &= ~lost
        if lost.any():
            dropped[f"{name}s left without rows"] = int(lost.sum())
    return dropped
