"""Chunks: the canonical rows of a table in files of a bounded number of rows.

A chunk is written whole and then named, and its name holds the rows of the table that
it covers, so that a killed preparation goes on behind the last one.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from twotower_jax.data import parse
from twotower_jax.data.config import DataConfig
from twotower_jax.data.drafts import draft_of
from twotower_jax.data.encode import encode_features, fits
from twotower_jax.data.log import Feature, Stage
from twotower_jax.data.parse import check_unit
from twotower_jax.data.prepared.arrays import (
    codes,
    distinct,
    load_array,
    load_series,
    requests,
    save_features,
    save_series,
    write_array,
)
from twotower_jax.data.sources.batches import batches, estimated_rows
from twotower_jax.data.sources.layout import Layout
from twotower_jax.data.sources.table import (
    SIDES,
    columns_read,
    rows_of,
    side_table,
    stack,
    table_files,
    unused,
)
from twotower_jax.errors import InputError

ROWS = 2_000_000  # of a table in a chunk, at most
GROUP = 4  # chunks that are read at a time
FINISHED, DROPPED = ".finished", "dropped"
NAME = re.compile(r"(\d{6})-(\d{15})-(\d{15})\.parquet")
Say = Callable[[str, int, int | None], None]  # what, rows done, rows of all or None


class Chunk(NamedTuple):
    """A file with canonical rows.

    Attributes:
      file: number of the table.
      first, end: the rows of that table that it covers.
      path: the chunk.
    """

    file: int
    first: int
    end: int
    path: Path


def list_chunks(folder: Path) -> list[Chunk]:
    """Return the chunks of a folder in the order of the log."""
    found = []
    for path in folder.glob("*.parquet"):
        if place := NAME.fullmatch(path.name):
            file, first, end = map(int, place.groups())
            found.append(Chunk(file, first, end, path))
    return sorted(found)


def write_chunks(config: DataConfig, folder: Path, say: Say) -> None:
    """Write the chunks of all tables of a configuration that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    layout = Layout(config.separator, config.header, config.list_separator)
    files = table_files(config)
    numbers = [estimated_rows(path, layout) for _, path in files]
    whole = None if None in numbers else sum(number or 0 for number in numbers)
    before = 0  # rows of the tables before
    for number, (part, path) in enumerate(files):
        table = _Table(number, part, path, before)
        for rows in _unread(table, config, layout, folder):
            say("rows read", before + rows, whole)
        before += _rows_there(folder, number)


class _Table(NamedTuple):
    """A table of a log: its number, part and path, and the rows of those before."""

    number: int
    part: int
    path: Path
    before: int


def _unread(
    table: _Table, config: DataConfig, layout: Layout, folder: Path
) -> Iterator[int]:
    """Write the chunks of a table that are not there; yield its rows so far."""
    mark = folder / f"{table.number}{FINISHED}"
    end = seen = _rows_there(folder, table.number)
    if mark.exists() and mark.read_text() == str(end):
        return
    for batch in batches(table.path, layout, columns_read(config), ROWS):
        fresh = batch.slice(min(seen, len(batch)))
        seen -= len(batch) - len(fresh)
        if fresh.is_empty():
            continue
        where = f"{table.path}, from row {end + 1:,} on" if end else str(table.path)
        rows, dropped = rows_of(fresh, where, table.part, table.before + end, config)
        chunk = Chunk(table.number, end, end + len(fresh), folder)
        _write(rows, chunk, dropped)
        end = chunk.end
        yield end
    with draft_of(mark) as draft:
        draft.write_text(str(end))


def _rows_there(folder: Path, number: int) -> int:
    """Return the first rows of a table that chunks hold; remove chunks behind a gap."""
    end = 0
    for chunk in list_chunks(folder):
        if chunk.file != number:
            continue
        if chunk.first == end:
            end = chunk.end
        else:
            chunk.path.unlink()
    return end


def _write(rows: pl.DataFrame, chunk: Chunk, dropped: dict[str, int]) -> None:
    """Write a chunk into the folder that it names as its path."""
    name = f"{chunk.file:06d}-{chunk.first:015d}-{chunk.end:015d}.parquet"
    metadata = {DROPPED: json.dumps(dropped)}
    with draft_of(chunk.path / name) as draft:
        rows.write_parquet(draft, compression="lz4", metadata=metadata)


def dropped_rows(chunks: list[Chunk]) -> dict[str, int]:
    """Return the numbers of rows that were left out, by reason."""
    dropped: dict[str, int] = {}
    for chunk in chunks:
        with _whole(chunk):
            metadata = json.loads(_metadata(chunk.path)[DROPPED])
        for reason, number in metadata.items():
            dropped[reason] = dropped.get(reason, 0) + number
    return dropped


def _metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a parquet file, whatever its path looks like."""
    with path.open("rb") as file:
        return pl.read_parquet_metadata(file)


@contextmanager
def _whole(chunk: Chunk) -> Iterator[None]:
    """Context in which a damaged chunk is refused by name."""
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowException, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{chunk.path} is damaged: {reason}; remove it, and give the same command "
            "again"
        ) from None


def rows_in(chunk: Chunk) -> int:
    """Return the number of canonical rows of a chunk."""
    with _whole(chunk):
        return pq.read_metadata(chunk.path).num_rows


def schema_of(chunks: list[Chunk]) -> pl.Schema:
    """Return the types of the columns of all chunks: text where one has text."""
    empty = []
    for chunk in chunks:
        # The file is opened here, because polars expands wild cards in a path.
        with _whole(chunk), chunk.path.open("rb") as file:
            empty.append(pl.DataFrame(schema=pl.read_parquet_schema(file)))
    return stack(empty).schema


def read_chunks(
    chunks: list[Chunk], columns: Sequence[str], schema: pl.Schema
) -> Iterator[pl.DataFrame]:
    """Columns of the chunks, several chunks at a time, with the types of the whole."""
    types = [pl.col(name).cast(schema[name]) for name in columns]
    for place in range(0, len(chunks), GROUP):
        parts = []
        for chunk in chunks[place : place + GROUP]:
            with _whole(chunk):
                part = pl.read_parquet(chunk.path, columns=list(columns), glob=False)
                parts.append(part.select(types))
        yield pl.concat(parts)


# Columns that are stored as they are, and their types.
PLAIN = {
    "stage": pl.Int8,
    "time": pl.Float64,
    "rank": pl.Int32,
    "part": pl.Int8,
    "weight": pl.Float64,
}


class _Rows(NamedTuple):
    """The canonical rows of a log on disk: chunks, types and their number."""

    chunks: list[Chunk]
    schema: pl.Schema
    number: int
    say: Say

    def parts(self, name: str, what: str | None = None) -> Iterator[pl.Series]:
        """Yield a column, part by part, and report the number of its rows."""
        done = 0
        for frame in read_chunks(self.chunks, [name], self.schema):
            done += len(frame)
            self.say(what or f"column {name}, rows written", done, self.number)
            yield frame[name]


def code_chunks(
    config: DataConfig, chunks: Path, out: Path, say: Say
) -> dict[str, Any]:
    """Write the arrays of a log from its chunks, as `build_log` makes them."""
    found = list_chunks(chunks)
    rows = _Rows(found, schema_of(found), sum(map(rows_in, found)), say)
    if not rows.number:
        raise InputError(
            f"{config.path}: no row of column {config.columns.item!r} lists an item; "
            "check data.columns.item and data.list_separator"
        )
    for side in SIDES:
        _code_ids(rows, side, config, out)
    _write_plain(rows, config, out)
    if config.columns.time is not None:
        times = load_array(out / "time.npy")
        check_unit(times, str(config.path), config.columns.time)
    if "request" in rows.schema:
        _code_requests(rows, config, out)
    features = {side: _features(rows, side, config, out) for side in SIDES}
    described = save_features(out, features)
    return {"features": described, "dropped": dropped_rows(found)}


def _write_plain(rows: _Rows, config: DataConfig, out: Path) -> None:
    """Write the columns that are stored as they are."""
    skipped = unused(rows.schema.names(), config)
    for name, kind in PLAIN.items():
        if name in rows.schema and name not in skipped:
            typed = (part.cast(kind).to_numpy() for part in rows.parts(name))
            write_array(out / f"{name}.npy", typed, rows.number)
    if "stage" not in rows.schema:
        stages = (np.full(rows_in(c), Stage.CLICKED, np.int8) for c in rows.chunks)
        write_array(out / "stage.npy", stages, rows.number)


def _code_ids(rows: _Rows, side: str, config: DataConfig, out: Path) -> None:
    """Write the ids and the codes of users or items."""
    ids = distinct(rows.parts(side, f"{side}s, rows seen"))
    parse.check_forms(ids, str(config.path), getattr(config.columns, side))
    write_array(out / f"{side}.npy", codes(rows.parts(side), ids), rows.number)
    save_series(out / f"{side}_ids.parquet", ids)


def _code_requests(rows: _Rows, config: DataConfig, out: Path) -> None:
    """Write the requests: whole numbers that fit as they are, other ids as codes."""
    ids = None
    largest = _largest(rows) if rows.schema["request"].is_integer() else None
    if largest is None:
        ids = distinct(rows.parts("request", "requests, rows seen"))
        if ids.null_count() == len(ids):
            raise InputError(
                f"{config.path}: column {config.columns.request!r} is empty in every "
                "row; leave data.columns.request out"
            )
        largest = len(ids) - (1 if ids[-1] is not None else 2)
    parts = requests(rows.parts("request"), largest, ids)
    write_array(out / "request.npy", parts, rows.number)


def _largest(rows: _Rows) -> int | None:
    """Return the largest whole number, None where codes have to take their place."""
    found = pl.DataFrame(
        [
            {"low": part.min(), "high": part.max(), "missing": part.null_count()}
            for part in rows.parts("request", "requests, rows seen")
        ],
        schema={"low": pl.Int128, "high": pl.Int128, "missing": pl.Int64},
    )
    low, high = found["low"].min(), found["high"].max()
    if high is None or not fits(low, high, int(found["missing"].sum())):
        return None
    return int(high)  # type: ignore[arg-type]


def _features(
    rows: _Rows, side: str, config: DataConfig, out: Path
) -> dict[str, Feature]:
    """Return the features of the users or items, in the order of their codes."""
    kinds: dict[str, str] = getattr(config, SIDES[side])
    of_log = [f"{side}:{name}" for name in kinds]
    first = pl.DataFrame()
    if of_log and getattr(config, f"{side}s_path") is None:
        for frame in read_chunks(rows.chunks, [side, *of_log], rows.schema):
            first = pl.concat([first, frame]) if len(first) else frame
            first = first.unique(subset=side, keep="first", maintain_order=True)
    table = side_table(first, side, config)
    if table is None:
        return {}
    ids = load_series(out / f"{side}_ids.parquet", side)
    where = table.where or str(config.path)
    return encode_features(table.table, side, ids, dict(table.kinds or {}), where)
