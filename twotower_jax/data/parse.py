"""Columns of files as numbers; an error names the row and the value.

Every function takes a polars column, the name of the file (``where``) and the name of
the column, and returns a column of one fixed type. Rows are counted from 1, without
the header.
"""

import polars as pl

from twotower_jax.data.log import Stage
from twotower_jax.errors import InputError

_STAGE_NAMES = {stage.name.lower(): int(stage) for stage in Stage}
NO_IDS = (pl.Object, pl.Binary, pl.Duration)
LARGEST = 1e150  # the square is a float64


def fail_at(
    bad: pl.Series, values: pl.Series, where: str, column: str, problem: str
) -> None:
    """Raise an error for the first row where ``bad`` is true, if there is one.

    Examples:
      >>> values = pl.Series([1, -2])
      >>> fail_at(values < 0, values, "a.csv", "age", "is negative; give 0 or more")
      Traceback (most recent call last):
        ...
      InputError: a.csv: row 2, column 'age': -2 is negative; give 0 or more
    """
    row = bad.fill_null(False).arg_max() if bad.any() else None
    if row is not None:
        value = "an empty value" if values[row] is None else repr(values[row])
        raise InputError(
            f"{where}: row {row + 1}, column {column!r}: {value} {problem}"
        )


def fail_null(values: pl.Series, where: str, column: str, remedy: str) -> None:
    """Raise an error for the first missing value (null or NaN), if there is one."""
    if values.dtype.is_float():
        values = values.fill_nan(None)
    fail_at(values.is_null(), values, where, column, f"is not allowed; {remedy}")


def _wrong_type(values: pl.Series, where: str, column: str, right: str) -> InputError:
    return InputError(
        f"{where}: column {column!r} has values of type {values.dtype}; give {right}"
    )


def to_ids(
    values: pl.Series, where: str, column: str, *, required: bool = True
) -> pl.Series:
    """Ids, none of them missing; categories become texts."""
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype.is_nested() or values.dtype in NO_IDS:
        raise _wrong_type(values, where, column, "one number or text per row")
    if required:
        fail_null(values, where, column, "give every row an id, or remove the row")
    return values


def text_to_ids(values: pl.Series) -> pl.Series:
    """Ids as int64 where that changes no id ('007' would change), else as they are.

    Examples:
      >>> text_to_ids(pl.Series(["7", "12"])).to_list()
      [7, 12]
      >>> text_to_ids(pl.Series(["007", "12"])).to_list()
      ['007', '12']
    """
    if values.dtype != pl.String:
        return values
    numbers = values.cast(pl.Int64, strict=False)
    same = (numbers.cast(pl.String) == values) | values.is_null()
    return numbers if same.fill_null(False).all() else values


def check_forms(ids: pl.Series, where: str, column: str) -> None:
    """Check that ids are not partly whole numbers and partly the same with a point."""
    if ids.dtype != pl.String:
        return
    point = ids.str.contains(r"^-?\d+\.0+$")
    if not point.any():
        return
    whole = ids.str.contains(r"^-?\d+$")
    if whole.any():
        raise InputError(
            f"{where}: column {column!r} has ids of two forms, such as "
            f"{ids.filter(whole)[0]!r} and {ids.filter(point)[0]!r}, which count as "
            "different; write all of them as whole numbers"
        )


def to_number(
    values: pl.Series, where: str, column: str, *, required: bool = True
) -> pl.Series:
    """Numbers as float64; a missing value is null.

    Examples:
      >>> to_number(pl.Series(["1.5", None]), "a.csv", "x", required=False).to_list()
      [1.5, None]
    """
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.Null or values.dtype == pl.Boolean:
        numbers = values.cast(pl.Float64)
    elif values.dtype == pl.String:
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
        bad = numbers.is_null() & values.is_not_null()
        commas = values.filter(bad).str.contains(r"^-?\d+,\d+$").any()
        hint = "numbers have a decimal point" if commas else "give a number there"
        fail_at(bad, values, where, column, f"is not a number; {hint}")
    elif values.dtype.is_numeric():
        numbers = values.cast(pl.Float64)
    else:
        raise _wrong_type(values, where, column, "numbers")
    numbers = numbers.fill_nan(None)
    infinite, large = numbers.is_infinite(), numbers.abs() > LARGEST
    fail_at(infinite, values, where, column, "is infinite; give a finite number")
    fail_at(large, values, where, column, "is too large; give at most 1e150")
    if required:
        fail_null(numbers, where, column, "give a number, or remove the row")
    return numbers


def to_rank(values: pl.Series, where: str, column: str) -> pl.Series:
    """Ranks from 0; -1 for a missing value."""
    numbers = to_number(values, where, column, required=False).fill_null(-1)
    bad = (numbers < -1) | (numbers >= 2**31) | (numbers != numbers.round())
    fail_at(bad, values, where, column, "is not a rank; give a whole number from 0")
    return numbers.cast(pl.Int64)


def to_stage(values: pl.Series, where: str, column: str) -> pl.Series:
    """Stages from the names of ``Stage`` in any case, or from its numbers.

    Examples:
      >>> to_stage(pl.Series(["Ranked", "clicked"]), "a.csv", "stage").to_list()
      [2, 5]
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
    problem = f"is not a stage; choose one of: {names}"
    fail_at(stages.is_null(), values, where, column, problem)
    return stages
