"""The part of a log that lies before a time, and times of the configuration."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from twotower_jax.data.build import present, take_log
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.errors import InputError


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
