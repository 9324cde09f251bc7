"""Columns of times as epoch seconds; an error names the row and the value."""

from datetime import UTC, datetime

import polars as pl

from twotower_jax.data.parse import fail_at, fail_null, to_number

# Forms that are parsed column-wise, which is far faster than value by value. The last
# one is American, and unambiguous by its AM or PM.
FORMS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d", "%m/%d/%YT%I:%M:%S %p")


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
    text = values.str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    if numbers[0] is not None:
        seconds = numbers
    else:
        plain = text.str.replace(" ", "T")
        seconds = pl.Series([None], dtype=pl.Float64).new_from_index(0, len(text))
        for form in FORMS:
            if not seconds.has_nulls():
                break
            moments = plain.str.to_datetime(form, strict=False, time_unit="us")
            seconds = seconds.fill_null(moments.dt.epoch("us") / 1e6)
        rest = seconds.is_null().arg_true()
        if len(rest):
            others = pl.Series(
                [_iso_seconds(value) for value in text.gather(rest)], dtype=pl.Float64
            )
            seconds = seconds.scatter(rest, others)
    problem = (
        "is not a time; give seconds since 1970 or an ISO date, one of the two "
        "in the whole column"
    )
    fail_at(seconds.is_null(), values, where, column, problem)
    return seconds


def to_time(values: pl.Series, where: str, column: str) -> pl.Series:
    """Times as float64: numbers unchanged, dates as epoch seconds (UTC).

    Args:
      values: [rows] numbers, dates, or texts of either.
      where: name of the file.
      column: name of the column.

    Returns:
      [rows] float64, finite.

    Raises:
      InputError: a missing time, one that does not parse, or one that is not finite.

    Examples:
      >>> to_time(pl.Series(["1970-01-02", "1970-01-01T00:01"]), "a.csv", "t").to_list()
      [86400.0, 60.0]
    """
    fail_null(values, where, column, "give every row a time")
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.String:
        values = _text_to_time(values, where, column)
    elif values.dtype == pl.Date or values.dtype == pl.Datetime:
        return values.dt.epoch("us") / 1e6
    return to_number(values, where, column)
