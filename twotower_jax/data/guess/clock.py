"""Times of a log: their unit, their span as dates, and anomalies."""

import re
from datetime import UTC, datetime

import numpy as np
import polars as pl

from twotower_jax.data.guess.profile import Profile
from twotower_jax.data.parse import UNITS, seconds_of, unit

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


# Texts that are dates of such a form.
DATED = r"^\d{1,4}[./-]\d{1,2}[./-]\d{1,4}([^.\d]|$)"
# Day, month and year in either order, what stands before the time of day, and it.
PARTS = re.compile(r"\d{1,2}([./-])\d{1,2}\1(\d{4}|\d{2})((\D{1,3})\d.*)?")
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p")


def is_dated(one: Profile) -> bool:
    """Return whether a column has texts such as 31/5/2024."""
    return one.kind == "text" and one.values.head(200).str.contains(DATED).all()


def time_formats(one: Profile) -> list[str]:
    """Return the forms by which a column of texts has times, in the signs of strftime.

    Returns:
      None, one, or two where no text tells the day from the month; none for a column
      with missing values.

    Examples:
      >>> from twotower_jax.data.guess.profile import profile
      >>> time_formats(profile(pl.Series(["5/6/2024 9:05", "31/5/2024 10:00"])))
      ['%d/%m/%Y %H:%M']
      >>> time_formats(profile(pl.Series(["5/6/24", "6/5/24"])))
      ['%d/%m/%y', '%m/%d/%y']
    """
    found = None if one.missing or not is_dated(one) else PARTS.fullmatch(one.first())
    if found is None:
        return []
    values = one.values
    mark, year, clock, gap = found.groups()
    year = "%Y" if len(year) == 4 else "%y"
    days = (mark.join((*order, year)) for order in (("%d", "%m"), ("%m", "%d")))
    ends = [f"{gap}{one}" for one in CLOCKS] if clock else [""]
    forms = (_first_fit(values, [f"{day}{end}" for end in ends]) for day in days)
    return [form for form in forms if form is not None]


def no_time(one: Profile, forms: list[str]) -> str:
    """Return the remark about a column of times that cannot be read as it is."""
    if forms:
        given = " or ".join(f"data.time_format={form!r}" for form in forms)
        return (
            f"column {one.name!r} (such as {one.first()!r}) is not read as a time; "
            f"give data.columns.time={one.name} and {given} to use it"
        )
    numbers = one.values.str.contains(r"^\s*-?\d+(\.\d*)?\s*$")
    if numbers.any() and not numbers.all():
        first, other = one.values.filter(numbers)[0], one.values.filter(~numbers)[0]
        return (
            f"column {one.name!r} has numbers ({first!r}) and texts ({other!r}), so it "
            "is not read as a time; write all as seconds since 1970 or all as ISO dates"
        )
    return (
        f"column {one.name!r} (such as {one.first()!r}) is not read as a time; "
        "write seconds since 1970 or ISO dates (2024-05-31 10:00:00), or give its form "
        "by data.time_format, to use it"
    )


def _first_fit(values: pl.Series, forms: list[str]) -> str | None:
    """Return the first form that all texts have, or None."""
    for form in forms:
        if _fits(values.head(1), form) and _fits(values, form):
            return form
    return None


def _fits(values: pl.Series, form: str) -> bool:
    """Return whether all texts have a form."""
    return not seconds_of(values, form).has_nulls()
