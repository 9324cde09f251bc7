"""From a table with canonical columns to a validated FunnelLog, and filters of it."""

from dataclasses import replace

import numpy as np
import polars as pl

from twotower_jax.data.encode import encode_features, encode_ids
from twotower_jax.data.log import Feature, FunnelLog, Stage
from twotower_jax.data.parse import fail_at, to_ids, to_rank, to_stage, to_time
from twotower_jax.errors import InputError

COLUMNS = ("user", "item", "time", "stage", "request", "rank", "part")


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
    values = to_ids(frame["request"], where, "request")
    if values.dtype.is_integer():
        return values.cast(pl.Int64).to_numpy()
    return encode_ids(values)[0].astype(np.int64)


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
        bad, values, where, "part", "is no part; give 0 (train), 1 (valid) or 2 (test)"
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
            + ", ".join(COLUMNS)
        )
    if len(frame) == 0:
        raise InputError(f"{where}: has no rows; give at least one positive")


def build_log(
    frame: pl.DataFrame,
    *,
    where: str,
    user_features: pl.DataFrame | None = None,
    item_features: pl.DataFrame | None = None,
    user_kinds: dict[str, str] | None = None,
    item_kinds: dict[str, str] | None = None,
    users_where: str | None = None,
    items_where: str | None = None,
    catalogue: pl.Series | None = None,
    dropped: dict[str, int] | None = None,
) -> FunnelLog:
    """Validate a table of rows and replace ids by codes.

    Args:
      frame: columns user and item (any scalar type) and, where known, time (numbers,
        dates or ISO text), stage (names or numbers of ``Stage``; none: all rows are
        positives), request (any type), rank (whole numbers from 0) and
        part (0, 1, 2).
      where: the name of the source, which begins every error.
      user_features: one row per user: column "user" and the features.
      item_features: the same with column "item".
      user_kinds: the kind of each feature to use. None: all columns; lists are
        multi, floats numeric, all else categorical.
      item_kinds: the same for items.
      users_where: name of the table of users, for errors; None is ``where``.
      items_where: the same for items.
      catalogue: ids of items that belong to the catalogue even without a row; they
        follow those of the rows. Items of the feature table alone are not added.
      dropped: counts of what the source left out.

    Returns:
      The log; codes in order of first appearance.

    Raises:
      InputError: a missing column, no rows, a missing id, a time, stage or part that
        does not parse, or a wrong feature table; with the row and the value.
    """
    _check_columns(frame, where)
    user, user_ids = encode_ids(to_ids(frame["user"], where, "user"))
    item, item_ids = encode_ids(to_ids(frame["item"], where, "item"), catalogue)
    time = None
    if "time" in frame.columns:
        time = to_time(frame["time"], where, "time").to_numpy()
    features: list[dict[str, Feature]] = []
    for table, key, ids, kinds, place in (
        (user_features, "user", user_ids, user_kinds, users_where),
        (item_features, "item", item_ids, item_kinds, items_where),
    ):
        if table is None:
            features.append({})
            continue
        kinds = _kinds(table, key) if kinds is None else kinds
        features.append(encode_features(table, key, ids, kinds, place or where))
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
        user_features=features[0],
        item_features=features[1],
        dropped=dict(dropped or {}),
    )


def _take(log: FunnelLog, rows: np.ndarray, users: np.ndarray, items: np.ndarray):
    """Return the log with some rows, users and items (bool masks), codes renewed."""

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
        user_ids=log.user_ids.filter(pl.Series(users)),
        item_ids=log.item_ids.filter(pl.Series(items)),
        user_features=features(log.user_features, users),
        item_features=features(log.item_features, items),
    )


def _present(codes: np.ndarray, num: int) -> np.ndarray:
    return np.bincount(codes, minlength=num) > 0


def filter_log(
    log: FunnelLog, *, min_user_positives: int, min_item_positives: int
) -> FunnelLog:
    """Leave out items, then users, with few positives; each once.

    Items are dropped first, then users by the positives that they still have. This
    is no k-core: an item may end with fewer positives than asked for, because users
    were dropped after it. A dropped item or user loses its rows of every stage, and
    what loses its last row leaves the log too (items that never had one, from a
    catalogue, stay). A minimum of 1 drops nothing, so that items and users that
    were only exposed stay. Numeric features keep their scale.

    Returns:
      A log with renewed codes (in the same order) and the counts in ``dropped``.

    Raises:
      InputError: no positive is left.
    """
    positive = log.stage == Stage.CLICKED
    keep = np.ones(len(log.user), bool)
    items = np.ones(log.num_items, bool)
    users = np.ones(log.num_users, bool)
    dropped = dict(log.dropped)
    for name, codes, alive, minimum in (
        ("item", log.item, items, min_item_positives),
        ("user", log.user, users, min_user_positives),
    ):
        if minimum <= 1:
            continue
        before = _present(codes[keep], len(alive)) | (name == "item")
        counts = np.bincount(codes[keep & positive], minlength=len(alive))
        alive &= counts >= minimum
        gone = keep & ~alive[codes]
        keep &= ~gone
        if not (keep & positive).any():
            raise InputError(
                f"data.min_{name}_positives={minimum} leaves no positive (the most "
                f"that one {name} has is {counts.max(initial=0)}); lower it"
            )
        reason = f"{name}s with fewer than {minimum} positives"
        dropped[reason] = int((before & ~alive).sum())
        dropped[f"rows of {reason}"] = int(gone.sum())
    for name, codes, alive in (("item", log.item, items), ("user", log.user, users)):
        lost = _present(codes, len(alive)) & ~_present(codes[keep], len(alive)) & alive
        alive &= ~lost
        if lost.any():
            dropped[f"{name}s left without rows"] = int(lost.sum())
    if keep.all() and items.all() and users.all():
        return replace(log, dropped=dropped)
    return replace(_take(log, keep, users, items), dropped=dropped)
