"""Columns of times as epoch seconds, and their unit; an error names row and value."""

from datetime import UTC, datetime

import numpy as np
import polars as pl

from twotower_jax.data.parse import fail_at, fail_null, to_number
from twotower_jax.errors import InputError

# Least value of a time in each unit: 1973 in seconds. The largest unit comes last.
UNITS = (
    ("seconds", 1e8),
    ("milliseconds", 1e11),
    ("microseconds", 1e14),
    ("nanoseconds", 1e17),
)
# Forms that are parsed column-wise, which is far faster than value by value. With dots
# the day comes first in every country; the American form is unambiguous by AM or PM.
FORMS = (
    *("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d"),
    *("%m/%d/%YT%I:%M:%S %p", "%m/%d/%YT%I:%M %p"),
    *("%d.%m.%YT%H:%M:%S%.f", "%d.%m.%YT%H:%M", "%d.%m.%Y"),
    *("%Y/%m/%dT%H:%M:%S%.f", "%Y/%m/%dT%H:%M", "%Y/%m/%d"),
)
# Names of UTC, in which dates without a zone are read too.
UTC_MARK = r" ?(UTC|GMT|Z)$"


def seconds_of(texts: pl.Series, form: str) -> pl.Series:
    """Return epoch seconds (UTC) of texts of a form, null where one has another.

    Examples:
      >>> seconds_of(pl.Series(["2.1.1970", "2.1.70"]), "%d.%m.%Y").to_list()
      [86400.0, None]
    """
    moments = texts.str.to_datetime(form, strict=False, time_unit="us")
    # %Y reads 24 as a year of the first century.
    moments = moments.set(moments.dt.year() < 100, None)
    return moments.dt.epoch("us") / 1e6


def _iso_seconds(text: str | None) -> float | None:
    """Return epoch seconds of an ISO date or time (UTC without a zone), or None."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _text_to_time(values: pl.Series, where: str, column: str) -> pl.Series:
    """Return epoch seconds of text: all numbers if the first row is one, else ISO."""
    text = values.str.strip_chars().str.replace(UTC_MARK, "")
    numbers = text.cast(pl.Float64, strict=False)
    if numbers[0] is not None:
        seconds = numbers
    else:
        plain = text.str.replace(r",? +", "T")
        seconds = pl.Series([None], dtype=pl.Float64).new_from_index(0, len(text))
        for form in FORMS:
            if not seconds.has_nulls():
                break
            seconds = seconds.fill_null(seconds_of(plain, form))
        rest = seconds.is_null().arg_true()
        if len(rest):
            others = pl.Series(
                [_iso_seconds(value) for value in text.gather(rest)], dtype=pl.Float64
            )
            seconds = seconds.scatter(rest, others)
    problem = (
        "is not a time; give seconds since 1970, or dates such as 2025-11-23 15:36 or "
        "23.11.2025 15:36, one of the two in the whole column, or the form of the "
        "column by data.time_format, such as '%d/%m/%Y %H:%M'"
    )
    fail_at(seconds.is_null(), values, where, column, problem)
    return seconds


def _check_exact(values: pl.Series, times: pl.Series, where: str, column: str) -> None:
    """Refuse whole numbers that float64, which has 53 bits, does not tell apart."""
    large = times.abs() > 2.0**53
    if not large.any() or values.dtype.is_float():
        return
    whole = values.cast(pl.Int128, strict=False)
    if not whole.has_nulls() and whole.n_unique() > times.n_unique():
        problem = (
            "is so large that times beside it cannot be told apart; subtract the least "
            "time from all, or give seconds"
        )
        fail_at(large, values, where, column, problem)


def _check_format(form: str) -> None:
    """Refuse a form that does not give a day back, or has unknown signs."""
    day = datetime(2024, 5, 31, tzinfo=UTC)
    try:
        texts = pl.Series([day]).dt.strftime(form)
        known = texts.str.to_datetime(form, time_unit="us").dt.date()[0] == day.date()
    except pl.exceptions.PolarsError:
        known = False
    if not known:
        raise InputError(
            f"data.time_format={form!r} gives no year, month and day; write the form "
            "of the times in the signs of strftime, such as '%d/%m/%Y %H:%M'"
        )


def _formed(values: pl.Series, where: str, column: str, form: str) -> pl.Series:
    """Return epoch seconds of texts, or of whole numbers such as 20240531."""
    _check_format(form)
    key = f"data.time_format={form!r}"
    if values.dtype != pl.String and not values.dtype.is_integer():
        raise InputError(
            f"{where}: column {column!r} has the type {values.dtype}, which {key} does "
            "not read; leave data.time_format out"
        )
    text = values.cast(pl.String).str.strip_chars()
    seconds = seconds_of(text, form)
    fail_at(
        seconds.is_null(),
        values,
        where,
        column,
        f"does not have the form {key}; correct one of the two",
    )
    return seconds


def to_time(
    values: pl.Series, where: str, column: str, form: str | None = None
) -> pl.Series:
    """Times as float64: numbers unchanged, dates as epoch seconds (UTC).

    Examples:
      >>> to_time(pl.Series(["1970-01-02", "1970-01-01T00:01"]), "a.csv", "t").to_list()
      [86400.0, 60.0]
      >>> to_time(pl.Series(["2.1.1970 00:01", "01.01.1970"]), "a.csv", "t").to_list()
      [86460.0, 0.0]
      >>> to_time(pl.Series(["1970-01-02 00:01:00 UTC"]), "a.csv", "t").to_list()
      [86460.0]
      >>> to_time(pl.Series(["2/1/1970"]), "a.csv", "t", "%d/%m/%Y").to_list()
      [86400.0]
    """
    fail_null(values, where, column, "give every row a time")
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.is_empty():
        return values.cast(pl.Float64)
    if form is not None:
        return _formed(values, where, column, form)
    if values.dtype == pl.Date or values.dtype == pl.Datetime:
        return values.dt.epoch("us") / 1e6
    is_text = values.dtype == pl.String
    numbers = _text_to_time(values, where, column) if is_text else values
    times = to_number(numbers, where, column)
    _check_exact(values, times, where, column)
    return times


def unit(times: np.ndarray) -> str | None:
    """Unit of most times since 1970; None where they are too small for dates.

    Examples:
      >>> unit(np.array([1.7e9, 1.6e9])), unit(np.array([1.7e12]))
      ('seconds', 'milliseconds')
      >>> unit(np.array([1, 2, 3]))
    """
    middle = float(np.median(times))
    names = [name for name, least in UNITS if middle >= least]
    return names[-1] if names else None


def check_unit(times: np.ndarray, where: str, column: str) -> None:
    """Check that all times since 1970 have one unit."""
    if not len(times):
        return
    limits = np.array([least for _, least in UNITS])
    ends = np.searchsorted(limits, [times.min(), times.max()], side="right")
    name = None if ends[0] == ends[1] else unit(times)
    if name is None:
        return
    dated = times >= limits[0]
    units = np.searchsorted(limits, times, side="right") - 1
    own = [one for one, _ in UNITS].index(name)
    other = dated & (units != own)
    if not other.any():
        return
    row = int(other.argmax())
    same = int((dated & (units == own)).argmax())
    raise InputError(
        f"{where}: column {column!r} has times in two units: {int(other.sum()):,} rows "
        f"in {UNITS[units[row]][0]} (row {row + 1}: {times[row]:.0f}), the others in "
        f"{name} (row {same + 1}: {times[same]:.0f}); write all of them in one unit"
    )
