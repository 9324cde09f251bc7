"""Columns of files as numbers; an error names the row and the value.

Every function takes a polars column, the name of the file (``where``) and the name of
the column, and returns a column of one fixed type. Rows are counted from 1, without
the header.
"""

from datetime import UTC, datetime

import numpy as np
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


_FLAGS = {"true": 1.0, "false": 0.0}


def to_clicked(
    values: pl.Series, where: str, column: str, positive: tuple[str, ...] = ()
) -> pl.Series:
    """Stages of a column that is 1 or true for a click.

    Examples:
      >>> to_clicked(pl.Series(["1", "false"]), "a.csv", "click").to_list()
      [5, 4]
    """
    if positive:
        return _clicked_by_value(values, where, column, positive)
    if values.dtype == pl.String:
        lower = values.str.strip_chars().str.to_lowercase()
        numbers = lower.replace_strict(_FLAGS, default=None, return_dtype=pl.Float64)
        numbers = numbers.fill_null(lower.cast(pl.Float64, strict=False))
    else:
        numbers = to_number(values, where, column, required=False)
    bad = ~numbers.is_in([0.0, 1.0]).fill_null(False)
    remedy = "give 1 for a click, else 0, or list its values in data.clicked_values"
    fail_at(bad, values, where, column, f"is neither 0 nor 1; {remedy}")
    return clicked_stage(numbers == 1)


def _clicked_by_value(
    values: pl.Series, where: str, column: str, positive: tuple[str, ...]
) -> pl.Series:
    """Return stages of a column whose values of a click are given."""
    fail_null(values, where, column, "give every row a value, or remove the row")
    return clicked_stage(values.cast(pl.String).is_in(_as_written(positive)))


def _as_written(positive: tuple[str, ...]) -> list[str]:
    """Return values of a click with true and false in small letters too.

    Hydra reads these two words as booleans, whose texts are True and False.
    """
    return [*positive, *(one.lower() for one in positive if one in ("True", "False"))]


def check_clicks(
    values: pl.Series, where: str, column: str, positive: tuple[str, ...]
) -> None:
    """Check that a column has a value of a click."""
    text = values.cast(pl.String)
    if positive and not text.is_in(_as_written(positive)).any():
        shown = ", ".join(text.drop_nulls().unique(maintain_order=True).head(10))
        raise InputError(
            f"{where}: no row of column {column!r} has a value of "
            f"data.clicked_values={list(positive)}; its values are: {shown}; choose "
            "those of a click"
        )


def clicked_stage(clicked: pl.Series) -> pl.Series:
    """Return stages (int8): CLICKED where true, EXPOSED elsewhere."""
    return clicked.cast(pl.Int8) + int(Stage.EXPOSED)


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


# Shorter vectors are divided by this instead of their length.
SHORTEST = 1e-6
# Share of numbers among the values of lists that are meant as vectors.
MEANT = 0.9


def is_list(values: pl.Series) -> bool:
    """Return whether the type of a column is polars' List or Array."""
    return isinstance(values.dtype, pl.List | pl.Array)


def to_lists(values: pl.Series) -> pl.Series:
    """Cells as lists; null for an empty cell.

    Examples:
      >>> to_lists(pl.Series(["1|2", "[3, 4]", ""])).to_list()
      [['1', '2'], ['3', '4'], None]
    """
    if isinstance(values.dtype, pl.Array):
        values = values.arr.to_list()
    if not isinstance(values.dtype, pl.List):
        text = values.cast(pl.String).str.replace_all(r"[\[\]()|,;\s]+", "|")
        text = text.str.strip_chars("|")
        values = text.set(text == "", None).str.split("|")
    return values.set(values.list.len() == 0, None)


def mean_vectors(values: pl.Series) -> bool:
    """Return whether at least 90 % of the values are numbers and one is a fraction.

    Examples:
      >>> mean_vectors(pl.Series(["0.5|1", "2|3"])), mean_vectors(pl.Series(["1|2"]))
      (True, False)
    """
    flat = to_lists(values).explode(keep_nulls=False, empty_as_null=False)
    if not (flat.dtype == pl.String or flat.dtype.is_numeric()):
        return False
    numbers = flat.cast(pl.Float64, strict=False)
    parsed = numbers.drop_nulls()
    meant = len(parsed) >= MEANT * len(flat) and len(parsed) > len(values)
    return bool(meant and not (parsed == parsed.round()).all())


def to_vectors(
    values: pl.Series, where: str, column: str, width: int | None = None
) -> pl.Series:
    """Vectors of one length.

    Examples:
      >>> to_vectors(pl.Series(["1|2", None]), "a.csv", "text").to_list()
      [[1.0, 2.0], None]
    """
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if not (is_list(values) or values.dtype in (pl.String, pl.Null)):
        raise InputError(
            f"{where}: column {column!r} has values of type {values.dtype}; give lists "
            "of numbers, or declare it as 'numeric'"
        )
    lists = to_lists(values)
    lengths = lists.list.len()
    others = "other rows have" if width is None else "the log has"
    if width is None:
        if not len(present := lengths.drop_nulls()):
            raise InputError(
                f"{where}: column {column!r} has no vector in any row; leave it out"
            )
        width = int(present.mode().sort()[-1])
    problem = f"numbers, but {others} {width}; give each row as many, or none"
    fail_at(lengths != width, lengths, where, column, problem)
    numbers = lists.list.eval(pl.element().cast(pl.Float32, strict=False))
    finite = numbers.list.eval(pl.element().is_finite().fill_null(False)).list.all()
    if (bad := ~finite.fill_null(True)).any():
        row = bad.arg_max() or 0
        _fail_in(lists[row], f"{where}: row {row + 1}", column)
    return numbers.cast(pl.Array(pl.Float32, width))


def _fail_in(cell: pl.Series, where: str, column: str) -> None:
    """Raise an error for the value of a cell that is not a number in float32."""
    value = cell.to_list()
    for place, one in enumerate(value):
        number = pl.Series([one]).cast(pl.Float32, strict=False)[0]
        if number is None or not np.isfinite(number):
            shown = "an empty value" if one is None else repr(one)
            raise InputError(
                f"{where}, column {column!r}: number {place + 1} of {len(value)} is "
                f"{shown}, which is not a finite number; leave the whole cell empty "
                "where a vector is missing"
            )


def unit_vectors(vectors: pl.Series) -> np.ndarray:
    """Vectors divided by their lengths.

    Examples:
      >>> unit_vectors(to_vectors(pl.Series(["3|4", None]), "a.csv", "text")).tolist()
      [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    raw = raw_vectors(vectors)
    length = np.sqrt(np.einsum("nd,nd->n", raw, raw, dtype=np.float64))
    return raw / np.maximum(length, SHORTEST)[:, None].astype(np.float32)


def raw_vectors(vectors: pl.Series) -> np.ndarray:
    """Vectors as they are."""
    out = np.zeros((len(vectors), vectors.dtype.size), np.float32)  # type: ignore
    out[vectors.is_not_null().to_numpy()] = vectors.drop_nulls().to_numpy()
    return out
