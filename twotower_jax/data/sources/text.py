"""Text tables: csv, tsv and other separators; every column is text."""

import csv
import gzip
from contextlib import suppress
from pathlib import Path

import polars as pl

from twotower_jax.errors import InputError


def _ragged_row(path: Path, separator: str) -> str:
    """Return a description of the first row with too many fields, or ""."""
    unpack = gzip.open if path.suffix.lower() == ".gz" else open
    with unpack(path, "rt", newline="", encoding="utf-8", errors="replace") as lines:
        reader = csv.reader(lines, delimiter=separator)
        with suppress(csv.Error):  # such as a very long field
            width = len(next(reader, []))
            for row, fields in enumerate(reader, start=1):
                if len(fields) > width:
                    return (
                        f"row {row} has {len(fields)} fields where the header has "
                        f"{width}; remove the surplus, or put values with separators "
                        "into quotes"
                    )
    return ""


def read_text(
    path: Path, separator: str, *, header: bool = True, rows: int | None = None
) -> pl.DataFrame:
    """Text table with every column as text; an empty field is null."""
    try:
        frame = pl.read_csv(
            path,
            separator=separator,
            has_header=header,
            infer_schema=False,
            n_rows=rows,
            glob=False,
        )
        if header:
            check_names(frame.columns, path)
            return frame
        # Configurations name these columns, so the names are not left to polars.
        names = {name: f"column_{i}" for i, name in enumerate(frame.columns)}
        return frame.rename(names)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise refused_text(path, separator, error) from None


def refused_text(path: Path, separator: str, error: Exception) -> InputError:
    """Return why a text table cannot be read, and the remedy."""
    if isinstance(error, pl.exceptions.NoDataError):
        return InputError(f"{path}: is empty; give a file with rows")
    reason = _ragged_row(path, separator) or str(error).strip().split("\n")[0]
    return InputError(
        f"{path}: cannot be read: {reason}; it must be UTF-8 text with one header"
    )


def check_names(names: list[str], path: Path) -> None:
    """Refuse a name that two columns have: polars renames the second."""
    for name in names:
        first, mark, _ = name.rpartition("_duplicated_")
        if mark and first in names:
            raise InputError(f"{path}: two columns are named {first!r}; rename one")
