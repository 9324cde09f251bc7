"""Columns as they come, turned into numbers; a bad value is named with its row.

Every function takes a polars column, the name of the file (``where``) and of the
column, and returns a column of one fixed type. Rows are counted from 1, without
the header.
"""

from datetime import UTC, datetime

import polars as pl

from twotower_jax.data.log import Stage
from twotower_jax.errors import InputError

_STAGE_NAMES = {stage.name.lower(): int(stage) for stage in Stage}
_FLAGS = {"true": 1.0, "false": 0.0}


def fail_at(
    bad: pl.Series, values: pl.Series, where: str, column: str, problem: str
) -> None:
    """Raise InputError for the first row where ``bad`` is true, if there is one."""
    row = bad.fill_null(False).arg_max() if bad.any() else None
    if row is not None:
        value = "an empty value" if values[row] is None else repr(values[row])
        raise InputError(
            f"{where}: row {row + 1}, column {column!r}: {value} {problem}"
        )


def _fail_null(values: pl.Series, where: str, column: str, remedy: str) -> None:
    if values.dtype.is_float():
        values = values.fill_nan(None)
    fail_at(values.is_null(), values, where, column, f"is not allowed; {remedy}")


def _wrong_type(values: pl.Series, where: str, column: str, right: str) -> InputError:
    return InputError(
        f"{where}: column {column!r} has values of type {values.dtype}; give {right}"
    )


def to_ids(values: pl.Series, where: str, column: str) -> pl.Series:
    """Return ids without a missing one; categories become strings.

    Raises:
      InputError: a missing id, or values that are lists or other containers.
    """
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype.is_nested() or values.dtype in (pl.Object, pl.Binary):
        raise _wrong_type(values, where, column, "one number or string a row")
    _fail_null(values, where, column, "give every row an id, or remove the row")
    return values


def text_to_ids(values: pl.Series) -> pl.Series:
    """Return a text column as int64 where no id changes by that ('007' would)."""
    if values.dtype != pl.String:
        return values
    numbers = values.cast(pl.Int64, strict=False)
    same = (numbers.cast(pl.String) == values) | values.is_null()
    return numbers if same.fill_null(False).all() else values


def to_number(
    values: pl.Series, where: str, column: str, *, required: bool = True
) -> pl.Series:
    """Return float64 numbers; missing values are null unless ``required``.

    Raises:
      InputError: text, an infinite number, or a missing value that is required.
    """
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.Null or values.dtype == pl.Boolean:
        numbers = values.cast(pl.Float64)
    elif values.dtype == pl.String:
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
        bad = numbers.is_null() & values.is_not_null()
        fail_at(bad, values, where, column, "is not a number; give a number there")
    elif values.dtype.is_numeric():
        numbers = values.cast(pl.Float64)
    else:
        raise _wrong_type(values, where, column, "numbers")
    numbers = numbers.fill_nan(None)
    infinite = numbers.is_infinite()
    fail_at(infinite, values, where, column, "is infinite; give a finite number")
    if required:
        _fail_null(numbers, where, column, "give a number, or remove the row")
    return numbers


def _iso_seconds(text: str | None) -> float | None:
    """Return epoch seconds of an ISO date or time (UTC unless it says), or None."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _text_to_time(values: pl.Series, where: str, column: str) -> pl.Series:
    """Return epoch seconds from text: numbers if the first row is one, else ISO."""
    text = values.str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    if numbers[0] is not None:
        seconds = numbers
    else:
        # The plain form is parsed as a column, which is far faster; other ISO forms
        # (dates, zones, no seconds) one by one.
        plain = text.str.replace(" ", "T").str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us"
        )
        seconds = plain.dt.epoch("us") / 1e6
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
    """Return times as float64: numbers as they are, dates as epoch seconds (UTC).

    Raises:
      InputError: a missing time, one that does not parse, or one that is not finite.
    """
    _fail_null(values, where, column, "give every row a time")
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.String:
        values = _text_to_time(values, where, column)
    elif values.dtype == pl.Date or values.dtype == pl.Datetime:
        return values.dt.epoch("us") / 1e6
    return to_number(values, where, column)


def to_clicked(values: pl.Series, where: str, column: str) -> pl.Series:
    """Return stages (int8) of a column that says 1 or true where there was a click.

    Raises:
      InputError: a value other than 0, 1, true and false.
    """
    if values.dtype == pl.String:
        lower = values.str.strip_chars().str.to_lowercase()
        numbers = lower.replace_strict(_FLAGS, default=None, return_dtype=pl.Float64)
        numbers = numbers.fill_null(lower.cast(pl.Float64, strict=False))
    else:
        numbers = to_number(values, where, column, required=False)
    bad = ~numbers.is_in([0.0, 1.0]).fill_null(False)
    fail_at(
        bad, values, where, column, "is neither 0 nor 1; give 1 for a click, else 0"
    )
    return clicked_stage(numbers == 1)


def clicked_stage(clicked: pl.Series) -> pl.Series:
    """Return stages (int8): CLICKED where true, EXPOSED elsewhere."""
    return clicked.cast(pl.Int8) + int(Stage.EXPOSED)


def to_rank(values: pl.Series, where: str, column: str) -> pl.Series:
    """Return ranks (int64) from 0; -1 where the value is missing or -1.

    Raises:
      InputError: text, a fraction, or a number below -1 or beyond 2^31 - 1.
    """
    numbers = to_number(values, where, column, required=False).fill_null(-1)
    bad = (numbers < -1) | (numbers >= 2**31) | (numbers != numbers.round())
    fail_at(bad, values, where, column, "is no rank; give a whole number from 0")
    return numbers.cast(pl.Int64)


def to_stage(values: pl.Series, where: str, column: str) -> pl.Series:
    """Return stages (int8) from the names of ``Stage`` in any case, or its numbers.

    Raises:
      InputError: a missing value or one that is no stage.
    """
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.String:
        lower = values.str.strip_chars().str.to_lowercase()
        stages = lower.replace_strict(_STAGE_NAMES, default=None, return_dtype=pl.Int8)
    elif values.dtype.is_integer():
        stages = values.cast(pl.Int64)
        stages = stages.set(~stages.is_between(0, int(max(Stage))), None).cast(pl.Int8)
    else:
        raise _wrong_type(values, where, column, "names of stages")
    names = ", ".join(_STAGE_NAMES)
    fail_at(
        stages.is_null(), values, where, column, f"is no stage; choose one of: {names}"
    )
    return stages
