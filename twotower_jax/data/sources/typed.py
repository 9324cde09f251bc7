"""Tables whose columns have types: JSON lines, parquet and feather files."""

import os
import re
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from twotower_jax.data.sources.layout import JSON
from twotower_jax.data.sources.records import fields, of_fields
from twotower_jax.errors import InputError

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
