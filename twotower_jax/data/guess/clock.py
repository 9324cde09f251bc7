"""Times of a log: their unit, their span as dates, and anomalies."""

from datetime import UTC, datetime

import numpy as np

from twotower_jax.data.times import UNITS, unit

PER_SECOND = {
    "seconds": 1.0,
    "milliseconds": 1e3,
    "microseconds": 1e6,
    "nanoseconds": 1e9,
}
DAY = 86_400.0


def span(times: np.ndarray) -> str:
    """First and last time as dates, or as numbers where they have no unit.

    Examples:
      >>> span(np.array([1.7e9, 1.7e9 + 86_400]))
      '2023-11-14 to 2023-11-15 (1 day), in seconds'
      >>> span(np.array([1.0, 7.0]))
      '1 to 7, numbers without a unit'
    """
    name = unit(times)
    if name is None:
        return f"{times.min():g} to {times.max():g}, numbers without a unit"
    seconds = times[times >= UNITS[0][1]] / PER_SECOND[name]
    days = round((seconds.max() - seconds.min()) / DAY)
    plural = "day" if days == 1 else "days"
    return (
        f"{date(seconds.min())} to {date(seconds.max())} ({days:,} {plural}), in {name}"
    )


def date(seconds: float) -> str:
    """Date of a time (UTC), such as 2024-05-31."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError):
        return f"{seconds:g} s"


def anomalies(times: np.ndarray, now: float) -> list[str]:
    """Anomalies of the times of a log, one sentence each.

    Examples:
      >>> anomalies(np.array([0, 1.7e9, 1.8e9]), now=1.75e9)
      ['1 row is dated 1970 or before, as if the time were missing', \
    '1 row is in the future, up to 2027-01-15']
    """
    if (times == times[0]).all():
        return ["every row has the same time, so the times give no order"]
    found, name = [], unit(times)
    if name is None:
        return found
    seconds = times / PER_SECOND[name]
    early = int((seconds < 366 * DAY).sum())
    if early:
        found.append(
            f"{_rows(early)} dated 1970 or before, as if the time were missing"
        )
    late = seconds > now + DAY
    if late.any():
        last = date(float(seconds.max()))
        found.append(f"{_rows(int(late.sum()))} in the future, up to {last}")
    distinct = len(np.unique(times[: 10**6]))
    if distinct <= 0.001 * min(len(times), 10**6):
        found.append(
            f"only {distinct:,} distinct times: rows of one time have no order, and a "
            "temporal split keeps them together"
        )
    return found


def _rows(number: int) -> str:
    return f"{number:,} row is" if number == 1 else f"{number:,} rows are"
