"""Division of the positives into train, valid and test."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from twotower_jax.arrays.mapped import release
from twotower_jax.data.build import present, take_log
from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import FunnelLog, Pairs, Split, Stage
from twotower_jax.data.repeats import AT_A_TIME, without_duplicates, without_repeats
from twotower_jax.errors import InputError
from twotower_jax.registry import Registry


def moment(log: FunnelLog, key: str, text: str) -> float:
    """Time of a key as the log has times."""
    if log.time is None:
        raise InputError(
            f"{key}={text} is a time, but the log has none; set data.columns.time, or "
            f"leave {key} out"
        )
    return to_seconds(key, text)


def to_seconds(key: str, text: str) -> float:
    """Number, or ISO date or time, as seconds.

    Examples:
      >>> to_seconds("data.until", "1970-01-02"), to_seconds("data.until", "12.5")
      (86400.0, 12.5)
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{key}={text!r} is not a time; give a number as the log has it, or an ISO "
            "date such as 2024-03-31"
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def rows_before(log: FunnelLog, until: str | None) -> FunnelLog:
    """Log as it was at a time: later rows, and the users and items of these alone, go.

    Items of a catalogue that have no row at all stay. Numeric features keep the scale
    of the whole log.
    """
    if until is None:
        return log
    end = moment(log, "data.until", until)
    times = np.asarray(log.time)
    kept = times < end
    if not (kept & (log.stage == Stage.CLICKED)).any():
        raise InputError(
            f"data.until={until} leaves no positive: the times of the log are "
            f"{times.min():.0f} to {times.max():.0f}; give a later time"
        )
    users, items = (
        present(codes[kept], number) | ~present(codes, number)
        for codes, number in ((log.user, log.num_users), (log.item, log.num_items))
    )
    dropped = dict(log.dropped) | {"rows from data.until on": int((~kept).sum())}
    return replace(take_log(log, kept, users, items), dropped=dropped)


def divide_at(
    log: FunnelLog, rows: np.ndarray, since: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Training rows before a time, and the others, which are trained on."""
    if since is None:
        return rows[:0], rows
    start = moment(log, "data.since", since)
    times = np.asarray(log.time)[rows]
    if not (times >= start).any():
        raise InputError(
            f"data.since={since} leaves no positive to train on: the last one is at "
            f"{times.max():.0f}; give an earlier time"
        )
    return rows[times < start], rows[times >= start]


TRAIN, VALID, TEST = 0, 1, 2
MOVED = "valid positives moved into train"  # with data.fit_valid
# Order of a user's positives under `ratio` where the log has no times.
ORDER_SEED = 0


def _round(share: float, n: np.ndarray | int) -> np.ndarray:
    """Round share * n, halves up (the small term absorbs binary fractions)."""
    return np.floor(share * np.asarray(n) + 0.5 + 1e-9).astype(np.int64)


def _cut(times: np.ndarray, target: int) -> int:
    """Return the first row of the later part: between two times, nearest to target.

    The earliest time stays in the earlier part, even if the later part then is
    smaller than its share.
    """
    target = max(target, 0)
    if target >= len(times):
        return len(times)
    low = int(np.searchsorted(times, times[target], "left"))
    high = int(np.searchsorted(times, times[target], "right"))
    if low == 0 or (high < len(times) and high - target < target - low):
        return high
    return low


def _temporal(
    log: FunnelLog, rows: np.ndarray, config: DataConfig
) -> tuple[np.ndarray, dict[str, int]]:
    """Cut at two points in time; rows of one time stay together."""
    if log.time is None:
        raise InputError(
            "data.split=temporal needs times, and the log has none; set "
            "data.columns.time, or use data.split=ratio or leave_last_out"
        )
    times, n = log.time[rows], len(rows)
    times.sort()
    test = _cut(times, n - int(_round(config.test_share, n)))
    valid = test
    if config.valid_share > 0:
        valid = _cut(times[:test], test - int(_round(config.valid_share, n)))
    # A cut lies between two times, so that the first time of a part decides it.
    first_valid, first_test = (
        times[cut] if cut < n else np.inf for cut in (valid, test)
    )
    del times
    part = np.empty(n, np.int8)
    for start in range(0, n, AT_A_TIME):
        place = slice(start, start + AT_A_TIME)
        time = log.time[rows[place]]
        part[place] = (time >= first_valid).astype(np.int8) + (time >= first_test)
    release(log.time)
    return part, {}


def _from_end(log: FunnelLog, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, per positive, its rank from the user's last one, and the user's count.

    The rank of the last one is 0. The order is by time, then by row; without times by
    row.
    """
    user = log.user[rows]
    time = np.zeros(len(rows)) if log.time is None else log.time[rows]
    order = np.lexsort((np.arange(len(rows)), time, user))
    counts = np.bincount(user, minlength=log.num_users)
    ends = np.cumsum(counts)
    from_end = np.empty(len(rows), np.int64)
    from_end[order] = ends[user[order]] - 1 - np.arange(len(rows))
    return from_end, counts[user]


def _leave_last_out(
    log: FunnelLog, rows: np.ndarray, config: DataConfig
) -> tuple[np.ndarray, dict[str, int]]:
    """Put the last positive of a user into test and the one before into valid."""
    from_end, count = _from_end(log, rows)
    part = np.full(len(rows), TRAIN, np.int8)
    part[(from_end == 1) & (count >= 3)] = VALID
    part[(from_end == 0) & (count >= 3)] = TEST
    short = int(present(log.user[rows][count < 3], log.num_users).sum())
    return part, {"users with fewer than 3 positives, kept in train": short}


def _ratio(
    log: FunnelLog, rows: np.ndarray, config: DataConfig
) -> tuple[np.ndarray, dict[str, int]]:
    """Put the last shares of each user's positives into test and valid."""
    if log.time is None:
        shuffle = np.random.default_rng(ORDER_SEED).permutation(len(rows))
        shuffled, total = _from_end(log, rows[shuffle])
        from_end, count = np.empty_like(shuffled), np.empty_like(total)
        from_end[shuffle], count[shuffle] = shuffled, total
    else:
        from_end, count = _from_end(log, rows)
    test = np.minimum(_round(config.test_share, count), count - 1)
    rest = count - test
    valid = np.minimum(_round(config.valid_share, rest), rest - 1)
    part = np.where(from_end < test, TEST, np.where(from_end < test + valid, VALID, 0))
    short = int(present(log.user[rows][test == 0], log.num_users).sum())
    return part.astype(np.int8), {"users too short for a test positive": short}


def _given(
    log: FunnelLog, rows: np.ndarray, config: DataConfig
) -> tuple[np.ndarray, dict[str, int]]:
    """Use the parts of the data, and a part of train where they have no valid part."""
    if log.part is None:
        raise InputError(
            "data.split=given needs data that comes in parts, and data.source="
            f"{config.source} has none; set data.test_path (and data.valid_path) of a "
            "table, or use data.split=temporal, ratio or leave_last_out"
        )
    part = log.part[rows]
    train = np.flatnonzero(part == TRAIN)
    if config.valid_share == 0 or VALID in part or not len(train):
        return part, {}
    part, own = part.copy(), replace(config, test_share=0.0)
    take = _temporal if _in_time(log, rows[train], rows[part == TEST]) else _ratio
    part[train], _ = take(log, rows[train], own)
    return part, {"valid positives taken from train": int((part == VALID).sum())}


def _in_time(log: FunnelLog, train: np.ndarray, test: np.ndarray) -> bool:
    """Return whether every row of test is later than the rows of train."""
    if log.time is None or not len(test):
        return False
    return bool(log.time[train].max() < log.time[test].min())


# (log, rows of the positives, config) -> part of each positive [n] int8, and counts.
Method = Callable[
    [FunnelLog, np.ndarray, DataConfig], tuple[np.ndarray, dict[str, int]]
]
METHODS: Registry[Method] = Registry(
    "data.split",
    {
        "temporal": _temporal,
        "leave_last_out": _leave_last_out,
        "ratio": _ratio,
        "given": _given,
    },
)


def _pairs(log: FunnelLog, rows: np.ndarray) -> Pairs:
    time = None if log.time is None else log.time[rows]
    request = None if log.request is None else log.request[rows]
    weight = None if log.weight is None else log.weight[rows]
    return Pairs(log.user[rows], log.item[rows], time, request, weight)


def _check(log: FunnelLog, rows: np.ndarray) -> None:
    if len(rows) == 0:
        raise InputError(
            "the log has no positive (no row with stage 'clicked'); check "
            "data.columns.clicked or stage, or lower data.min_rating"
        )
    for name, codes, number in (
        ("user", log.user, log.num_users),
        ("item", log.item, log.num_items),
    ):
        if present(codes[rows], number).sum() < 2:
            raise InputError(
                f"the positives of the log are all of one {name}, and learning needs "
                f"at least 2 {name}s; check data.columns.{name}"
            )


def _check_parts(config: DataConfig, train: np.ndarray, test: np.ndarray) -> None:
    key = f"data.split={config.split}"
    if len(test) == 0 and config.has_test:
        remedies = {
            "given": "give a test part (data.test_path) with a positive",
            "leave_last_out": "it needs a user with at least 3 positives",
        }
        default = (
            f"raise data.test_share={config.test_share}, use another split, or give "
            f"more data than {len(train):,} positives"
        )
        remedy = remedies.get(config.split, default)
        raise InputError(f"{key} leaves no positive to test on; {remedy}")
    if len(train) == 0:
        raise InputError(
            f"{key} leaves no positive to train on; lower data.test_share="
            f"{config.test_share} or data.valid_share={config.valid_share}, or give "
            "more data"
        )


class PartRows(NamedTuple):
    """Rows of the positives of each part.

    Attributes:
      train, valid, test: int64 rows of the log.
      report: {count: number}, as of `Split`.
      before: rows before ``data.since``; None without.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    report: dict[str, int]
    before: np.ndarray | None = None


def split(log: FunnelLog, config: DataConfig) -> Split:
    """Train, valid and test parts of the positives of a log, by ``data.split``.

    * temporal: cut at two points in time, the same for all users, such that the later
      parts hold about valid_share and test_share of the positives. Positives of one
      time stay together: train < valid < test strictly in time.
    * leave_last_out: a user's last positive is test and the one before valid; users
      with fewer than 3 positives stay in train. The shares are not used.
    * ratio: of a user's n positives the last floor(test_share n + 1/2) are test, and
      of the rest the last valid_share likewise; at least one stays in train. The
      order is by time, or drawn once with a fixed seed for a log without times.
    * given: the parts of the data. Where they have no valid part, valid_share of the
      train part is taken: by temporal where all of test is later, else by ratio.

    With ``data.repeats=first`` or ``last`` only the first or last positive of each
    (user, item) is divided: by time, then by row. Train keeps every row of its part;
    valid and test keep the first of a repeated (user, item).
    With ``data.fit_valid`` the valid rows then join train. With ``data.since`` the rows
    of train before that time are kept apart, for histories and masks. Users and items
    that training lacks stay in valid and test, and are counted in the report. Each part
    is in the order of the log.

    Examples:
      >>> import polars as pl
      >>> columns = {"user": [0, 0, 0, 1], "item": [0, 1, 2, 0], "stage": [5] * 4}
      >>> arrays = {name: np.array(column) for name, column in columns.items()}
      >>> ids = pl.Series([0, 1, 2])
      >>> log = FunnelLog(**arrays, user_ids=ids[:2], item_ids=ids)
      >>> parts = split(log, DataConfig(split="leave_last_out"))
      >>> parts.train.item.tolist(), parts.valid.item.tolist(), parts.test.item.tolist()
      ([0, 0], [1], [2])
    """
    parts = split_rows(log, config)
    return Split(
        _pairs(log, parts.train),
        _pairs(log, parts.valid),
        _pairs(log, parts.test),
        parts.report,
        None if parts.before is None else _pairs(log, parts.before),
    )


def split_rows(log: FunnelLog, config: DataConfig) -> PartRows:
    """Rows of the parts of `split`."""
    positives = np.flatnonzero(log.stage == Stage.CLICKED)
    rows = without_repeats(log, positives, config.repeats)
    _check(log, rows)
    part, report = METHODS[config.split](log, rows, config)
    if config.repeats in ("first", "last"):
        report["repeated positives left out"] = len(positives) - len(rows)
    train, valid, test = (rows[part == code] for code in (TRAIN, VALID, TEST))
    del positives, rows, part  # of a large log they take much memory
    if config.fit_valid:
        report[MOVED] = len(valid)
        train, valid = np.sort(np.concatenate([train, valid])), valid[:0]
    _check_parts(config, train, test)
    known = train
    before, train = divide_at(log, train, config.since)
    if config.since is not None:
        report["positives before data.since"] = len(before)
    valid, test = (
        without_duplicates(log, known, part_rows, name, report)
        for name, part_rows in (("valid", valid), ("test", test))
    )
    before = None if config.since is None else before
    return PartRows(train, valid, test, report, before)
