"""Tables in parts of a bounded number of rows, for logs larger than the memory."""

from collections.abc import Collection, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from twotower_jax.data.sources.files import (
    check_names,
    check_readable,
    read_table,
    refused_text,
)
from twotower_jax.data.sources.layout import BINARY, SEPARATORS, TEXT, Layout, ending
from twotower_jax.data.sources.typed import of_fields, panics_unprinted, refused
from twotower_jax.errors import InputError

SAMPLE = 2**20  # bytes, from which the length of a line is estimated


def batches(
    path: Path, layout: Layout, keep: Collection[str], rows: int
) -> Iterator[pl.DataFrame]:
    """Parts of a table, one after the other, as `read_table` reads the whole.

    Text, parquet and feather files are streamed. JSON lines, and lines of a user and
    its items, are read whole and then cut.
    """
    separator = layout.separator or TEXT.get(ending(path))
    check_readable(path, ending(path), separator)
    found = False
    for batch in _streamed(path, layout, separator, keep, rows):
        found = found or len(batch) > 0
        yield from batch.iter_slices(rows)
    if not found:
        raise InputError(f"{path}: has a header and no rows; give at least one row")


def estimated_rows(path: Path, layout: Layout) -> int | None:
    """Return about how many rows a table has; None where that is not seen at once."""
    kind = ending(path)
    try:
        if kind == ".parquet":
            return pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException):
        return None  # the reader says what is wrong
    if path.suffix.lower() != kind or (kind not in TEXT and not layout.separator):
        return None
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    return round(path.stat().st_size * sample.count(b"\n") / max(len(sample), 1))


def _streamed(
    path: Path,
    layout: Layout,
    separator: str | None,
    keep: Collection[str],
    rows: int,
) -> Iterator[pl.DataFrame]:
    """Yield the table in parts of any size."""
    kind = ending(path)
    if kind in BINARY:
        yield from _typed(path, kind, keep, rows)
    elif separator is None or layout.separator == layout.list_separator is not None:
        yield read_table(path, layout, keep=keep)
    else:
        yield from _text(path, SEPARATORS[separator], layout, keep, rows)


def _text(
    path: Path, separator: str, layout: Layout, keep: Collection[str], rows: int
) -> Iterator[pl.DataFrame]:
    try:
        table = pl.scan_csv(
            path,
            separator=separator,
            has_header=layout.header,
            infer_schema=False,
            glob=False,
        )
        names = table.collect_schema().names()
        check_names(names, path)
        if not layout.header:
            # Configurations name these columns, so the names are not left to polars.
            new = [f"column_{i}" for i in range(len(names))]
            table, names = table.rename(dict(zip(names, new, strict=True))), new
        yield from _kept(table, names, keep).collect_batches(
            chunk_size=rows, maintain_order=True
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise refused_text(path, separator, error) from None


def _typed(
    path: Path, kind: str, keep: Collection[str], rows: int
) -> Iterator[pl.DataFrame]:
    parts: Iterator[pl.DataFrame] | None = None
    while True:
        try:
            with panics_unprinted():
                if parts is None:
                    scan = pl.scan_parquet if kind == ".parquet" else pl.scan_ipc
                    table = of_fields(scan(path, glob=False))
                    names = table.collect_schema().names()
                    kept = _kept(table, names, keep)
                    parts = kept.collect_batches(chunk_size=rows, maintain_order=True)
                batch = next(parts, None)
        except (
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
            OSError,
        ) as error:
            raise refused(path, kind, error) from None
        if batch is None:
            return
        yield batch


def _kept(table: pl.LazyFrame, names: list[str], keep: Collection[str]) -> pl.LazyFrame:
    """Return the columns to keep; all of them where one is missing, for the message."""
    if not set(keep) <= set(names):
        return table
    return table.select(name for name in names if name in keep)
