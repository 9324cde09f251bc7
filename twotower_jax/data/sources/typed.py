"""Tables whose columns have types: JSON lines, parquet and feather files."""

import os
import re
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import polars as pl
import pyarrow as pa
from polars.datatypes import DataTypeClass
from pyarrow import ipc

from twotower_jax.data import parse
from twotower_jax.data.sources.layout import JSON
from twotower_jax.errors import InputError

Table = TypeVar("Table", pl.DataFrame, pl.LazyFrame)


class Field(NamedTuple):
    """A column, or a field of the records in one.

    Attributes:
      name: of the column, and of each field on the way, joined by dots.
      column: that holds it.
      value: expression of the values.
    """

    name: str
    column: str
    value: pl.Expr


def fields(schema: Mapping[str, pl.DataType]) -> list[Field]:
    """Fields of a table whose cells may hold records, or lists of records.

    A field of a list of records is a list; other cells are fields by themselves.

    Examples:
      >>> record = pl.Struct({"id": pl.Int64, "tags": pl.List(pl.String)})
      >>> [one.name for one in fields({"user": pl.Int64, "items": pl.List(record)})]
      ['user', 'items.id', 'items.tags']
    """
    return [
        Field(name, column, value.alias(name))
        for column, kind in schema.items()
        for name, value in _fields(column, pl.col(column), kind)
    ]


def of_fields(table: Table) -> Table:
    """Table with a column for each of its fields; without records it stays as it is.

    Examples:
      >>> table = pl.DataFrame({"user": [1], "item": [{"id": 2, "price": 3.5}]})
      >>> of_fields(table).columns
      ['user', 'item.id', 'item.price']
    """
    schema = table.collect_schema()
    found = fields(schema)
    if [one.name for one in found] == schema.names():
        return table
    return table.select(one.value for one in found)


def _fields(
    name: str, value: pl.Expr, kind: pl.DataType | DataTypeClass
) -> Iterator[tuple[str, pl.Expr]]:
    if isinstance(kind, pl.Struct):
        for one in kind.fields:
            inner = value.struct.field(one.name)
            yield from _fields(f"{name}.{one.name}", inner, one.dtype)
    elif isinstance(kind, pl.List) and isinstance(kind.inner, pl.Struct):
        for one in kind.inner.fields:
            inner = value.list.eval(pl.element().struct.field(one.name))
            yield from _fields(f"{name}.{one.name}", inner, pl.List(one.dtype))
    else:
        yield name, value


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


# Part of what polars raises, why the file is refused, and the remedy.
REASONS = (
    ("time zone", "a column of times has a zone like +05:30", "write them in UTC"),
    ("duplicate", "two columns have one name", "rename one"),
    ("left == right", "it is damaged, or two columns have one name", "write it again"),
    ("Int256", "a column has decimals of over 38 digits", "write floats"),
    ("precision must be", "a column has decimals of over 38 digits", "write floats"),
)
OTHER = "write it again, or give it the ending of its format"
TWICE = re.compile(
    r"with name '(.+)' has more than one occurrence|duplicate output name '(.+)'\."
)
# The process has one stderr: threads take turns.
_turn = threading.Lock()


def read_typed(
    path: Path, kind: str, keep: Collection[str] | None, rows: int | None
) -> pl.DataFrame:
    """Table of a JSON lines, parquet or feather file, with its types."""
    try:
        with panics_unprinted():
            return _read(path, kind, keep, rows)
    # Polars panics at some damaged files; a panic is not an Exception.
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
    ) as error:
        raise refused(path, kind, error) from None


def refused(path: Path, kind: str, error: BaseException) -> InputError:
    """Return why a file cannot be read, and the remedy."""
    text = str(error).strip()
    if twice := TWICE.search(text):
        name = twice[1] or twice[2]
        return InputError(f"{path}: two columns are named {name!r}; rename one")
    for part, reason, remedy in REASONS:
        if part in text:
            return InputError(f"{path}: {reason}; {remedy}")
    panic = isinstance(error, pl.exceptions.PanicException)
    reason = "" if panic else f": {text.splitlines()[0] if text else error}"
    return InputError(f"{path}: is not a {kind[1:]} file, or damaged{reason}; {OTHER}")


def _read(
    path: Path, kind: str, keep: Collection[str] | None, rows: int | None
) -> pl.DataFrame:
    if kind in JSON:
        _refuse_array(path)
        with path.open("rb") as file:
            frame = pl.read_ndjson(file, infer_schema_length=None, n_rows=rows)
            return of_fields(frame)
    # The file is opened here, because polars expands wild cards in a path.
    with path.open("rb") as file:
        if kind != ".parquet":
            return of_fields(pl.read_ipc(file, n_rows=rows))
        found = fields(pl.read_parquet_schema(file))
        file.seek(0)
        columns = None  # the message about a missing one lists all
        if keep and {*keep} <= {one.name for one in found}:
            columns = [*dict.fromkeys(one.column for one in found if one.name in keep)]
        return of_fields(pl.read_parquet(file, columns=columns, n_rows=rows))


def _refuse_array(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(64).lstrip().startswith(b"["):
            raise InputError(
                f"{path}: is one JSON array; write JSON lines, one object per row"
            )


@contextmanager
def panics_unprinted() -> Iterator[None]:
    """Context whose stderr lacks the lines that a panic writes past Python."""
    with _turn, tempfile.TemporaryFile() as lines:
        try:
            before = os.dup(2)
        except OSError:  # the process has no stderr
            yield
            return
        os.dup2(lines.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(before, 2)
            raise
        else:
            os.dup2(before, 2)
            lines.seek(0)
            os.write(2, lines.read())
        finally:
            os.close(before)
