"""Columns of feather files, one at a time: a file can be larger than the memory.

Read by pyarrow, for at a damaged file polars ends the process instead of saying so.
"""

from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import ipc

from twotower_jax.data import parse
from twotower_jax.errors import InputError

_ANEW = "get the file anew from its publisher, or leave it out"


def _open(path: Path, fields: list[int] | None = None):
    """Open a feather file."""
    options = ipc.IpcReadOptions(included_fields=fields)
    return ipc.open_file(pa.OSFile(str(path)), options=options)


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: is no feather file, or damaged: {str(error).splitlines()[0][:200]}; "
        + _ANEW
    )


def check_columns(path: Path, needed: list[str]) -> None:
    """Raise InputError unless a feather file has the columns, and rows."""
    try:
        known = _open(path).schema.names
        reader = _open(path, [0])
        batches = range(reader.num_record_batches)
        rows = sum(reader.get_batch(i).num_rows for i in batches)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    missing = [name for name in needed if known.count(name) != 1]
    if missing:
        raise InputError(
            f"{path}: has no column {missing[0]!r}; its columns are: "
            f"{', '.join(known)}; give the file as it was published"
        )
    if not rows:
        raise InputError(f"{path}: holds no rows; {_ANEW}")


def read_column(path: Path, name: str) -> pl.Series:
    """Return a column of a feather file as int64; null where there is no value.

    Raises:
      InputError: a damaged file, or values other than whole numbers.
    """
    try:
        place = _open(path).schema.get_field_index(name)
        table = _open(path, [place]).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    values = pl.Series(name, pl.from_arrow(table.column(0)))
    if values.dtype.is_float():
        # A column of whole numbers with gaps.
        values = values.fill_nan(None)
        bad = values != values.round()
        parse.fail_at(bad, values, str(path), name, "is no whole number; give one")
    elif values.dtype == pl.Null or not (
        values.dtype.is_integer() or values.dtype == pl.Boolean
    ):
        raise InputError(
            f"{path}: column {name!r} has values of type {values.dtype}; give whole "
            "numbers, as they were published"
        )
    whole = values.cast(pl.Int64, strict=False)
    bad = whole.is_null() & values.is_not_null()
    parse.fail_at(bad, values, str(path), name, "is beyond 64 bits; give a number")
    return whole
