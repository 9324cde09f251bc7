"""Columns of feather files, one at a time: a file may be larger than the memory.

Files are read with pyarrow, because polars aborts the process at a damaged file.
"""

from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import ipc

from twotower_jax.data import parse
from twotower_jax.errors import InputError

_REMEDY = "download the file again from its publisher, or leave it out"


def _open(path: Path, fields: list[int] | None = None) -> ipc.RecordBatchFileReader:
    """Open a feather file to read some of its columns, or all."""
    options = ipc.IpcReadOptions(included_fields=fields)
    return ipc.open_file(pa.OSFile(str(path)), options=options)


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: is not a feather file, or is damaged: "
        f"{str(error).splitlines()[0][:200]}; {_REMEDY}"
    )


def check_columns(path: Path, needed: list[str]) -> None:
    """Check that a feather file has columns, each once, and rows."""
    try:
        names = _open(path).schema.names
        reader = _open(path, [0])
        batches = range(reader.num_record_batches)
        rows = sum(reader.get_batch(i).num_rows for i in batches)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    missing = [name for name in needed if names.count(name) != 1]
    if missing:
        raise InputError(
            f"{path}: has no column {missing[0]!r}; its columns are: "
            f"{', '.join(names)}; give the file as it was published"
        )
    if not rows:
        raise InputError(f"{path}: holds no rows; {_REMEDY}")


def read_column(path: Path, name: str) -> pl.Series:
    """Column of a feather file as int64; a missing value is null."""
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
        parse.fail_at(bad, values, str(path), name, "is not a whole number; give one")
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
