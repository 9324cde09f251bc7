"""From chunks of canonical rows to the arrays of a log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from twotower_jax.config.data import DataConfig
from twotower_jax.data import parse
from twotower_jax.data.encode import encode_features, fits
from twotower_jax.data.log import Feature, Stage
from twotower_jax.data.prepared.arrays import (
    load_array,
    load_series,
    save_features,
    save_series,
    write_array,
)
from twotower_jax.data.prepared.chunks import (
    Chunk,
    Say,
    dropped_rows,
    list_chunks,
    read_chunks,
    rows_in,
    schema_of,
)
from twotower_jax.data.prepared.ids import codes, distinct, requests
from twotower_jax.data.sources.sides import SIDES, side_table
from twotower_jax.data.sources.table import unused
from twotower_jax.data.times import check_unit
from twotower_jax.errors import InputError

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
        """Yield a column, part by part, and tell of its rows."""
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
