"""Any log as a table: csv, tsv, jsonl, parquet or feather; columns of any name."""

from dataclasses import asdict
from pathlib import Path

import polars as pl

from twotower_jax.data import parse
from twotower_jax.data.build import SideTable, build_log
from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.parse import (
    check_clicks,
    check_unit,
    clicked_stage,
    to_clicked,
    to_time,
    to_vectors,
)
from twotower_jax.data.sources.files import (
    need_columns,
    need_file,
    need_tables,
    read_table,
)
from twotower_jax.data.sources.layout import Layout
from twotower_jax.data.sources.lists import holds_lists, rows_of_lists
from twotower_jax.data.weights import KEY, to_weight
from twotower_jax.errors import InputError

SIDES = {"user": "query_features", "item": "candidate_features"}


def features_of(
    frame: pl.DataFrame, side: str, config: DataConfig, where: str
) -> dict[str, pl.Series]:
    """Feature columns of one side, with numbers and vectors parsed."""
    kinds: dict[str, str] = getattr(config, SIDES[side])
    need_columns(frame, {f"data.{SIDES[side]}.{n}": n for n in kinds}, where)
    out = {name: frame[name] for name in kinds}
    for name, kind in kinds.items():
        if kind == "numeric":
            out[name] = parse.to_number(frame[name], where, name, required=False)
        elif kind == "vector":
            out[name] = to_vectors(frame[name], where, name)
    return out


def read_side(side: str, config: DataConfig) -> tuple[pl.DataFrame, str]:
    """Table of the features of one side, and the name of its column of ids."""
    path = need_file(getattr(config, f"{side}s_path"), f"data.{side}s_path")
    frame = read_table(path, Layout(config.separator))
    own = getattr(config, f"{side}s_id")
    key = own or getattr(config.columns, side)
    named = f"data.{side}s_id" if own else f"data.columns.{side}"
    need_columns(frame, {named: key}, str(path))
    return frame, key


def side_table(first: pl.DataFrame, side: str, config: DataConfig) -> SideTable | None:
    """Features of one side, from their own file or from the log; None without any."""
    kinds: dict[str, str] = getattr(config, SIDES[side])
    path = getattr(config, f"{side}s_path")
    if not kinds:
        if path is not None:
            raise InputError(
                f"data.{side}s_path={path!r} is set and data.{SIDES[side]} names no "
                "feature of it; name its columns there, as {column: kind}"
            )
        return None
    if path is None:
        columns = (pl.col(f"{side}:{name}").alias(name) for name in kinds)
        return SideTable(first.select(pl.col(side), *columns), kinds)
    frame, key = read_side(side, config)
    ids = parse.text_to_ids(parse.to_ids(frame[key], str(path), key))
    features = features_of(frame, side, config, str(path))
    return SideTable(pl.DataFrame({side: ids, **features}), kinds, str(path))


def stage_of_rating(
    ratings: pl.Series, minimum: float | None, where: str, column: str
) -> pl.Series:
    """Stages of ratings: CLICKED from the minimum on, EXPOSED below it.

    Examples:
      >>> stage_of_rating(pl.Series([3.5, 4.0]), 4, "ratings.csv", "rating").to_list()
      [4, 5]
    """
    numbers = parse.to_number(ratings, where, column)
    return clicked_stage(numbers >= (float("-inf") if minimum is None else minimum))


def check_meaning(columns: ColumnsConfig, min_rating: float | None) -> None:
    """Check that at most one column defines the positives."""
    named = [n for n in ("clicked", "rating", "stage") if getattr(columns, n)]
    if len(named) > 1:
        raise InputError(
            "data.columns names "
            + " and ".join(f"{name}={getattr(columns, name)}" for name in named)
            + ", and only one of them can define the positives; keep one"
        )
    if min_rating is not None and not columns.rating:
        raise InputError(
            f"data.min_rating={min_rating} needs a column of ratings; set "
            "data.columns.rating to its name"
        )


def _check_values(config: DataConfig) -> None:
    """Check that values of a click, and a form of times, have a column."""
    if config.time_format is not None and config.columns.time is None:
        raise InputError(
            f"data.time_format={config.time_format!r} needs the column of the times; "
            "set data.columns.time to its name"
        )
    if config.clicked_values and not config.columns.clicked:
        raise InputError(
            f"data.clicked_values={list(config.clicked_values)} needs the column of "
            "these values; set data.columns.clicked to its name"
        )


def _stage(frame: pl.DataFrame, config: DataConfig, where: str) -> pl.Series | None:
    columns = config.columns
    if columns.clicked:
        name = columns.clicked
        return to_clicked(frame[name], where, name, config.clicked_values)
    if columns.stage:
        return parse.to_stage(frame[columns.stage], where, columns.stage)
    if columns.rating:
        ratings = frame[columns.rating]
        return stage_of_rating(ratings, config.min_rating, where, columns.rating)
    return None


def canonical(
    frame: pl.DataFrame, where: str, part: int, config: DataConfig
) -> pl.DataFrame:
    """Columns of a log from the columns of a table."""
    columns = config.columns
    used = {
        KEY if key == "weight" else f"data.columns.{key}": name
        for key, name in asdict(columns).items()
        if name is not None
    }
    need_columns(frame, used, where)
    out = {"part": pl.repeat(part, len(frame), dtype=pl.Int8, eager=True)}
    for key in ("user", "item", "request"):
        name = getattr(columns, key)
        if name is not None:
            ids = parse.to_ids(frame[name], where, name, required=key != "request")
            out[key] = parse.text_to_ids(ids)
            parse.check_forms(out[key], where, name)
    if columns.time is not None:
        name = columns.time
        out["time"] = to_time(frame[name], where, name, config.time_format)
        check_unit(out["time"].to_numpy(), where, name)
    if columns.rank is not None:
        name = columns.rank
        out["rank"] = parse.to_rank(frame[name], where, name)
    stage = _stage(frame, config, where)
    if stage is not None:
        out["stage"] = stage
    if columns.weight is not None:
        out["weight"] = to_weight(frame[columns.weight], stage, where)
    for side in SIDES:
        if getattr(config, f"{side}s_path") is None:
            for name, values in features_of(frame, side, config, where).items():
                out[f"{side}:{name}"] = values
    return pl.DataFrame(out)


def stack(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows of all files; ids that are text in one file are text in all."""
    try:
        for name in frames[0].columns:
            types = {frame[name].dtype for frame in frames}
            if len(types) > 1 and pl.String in types:
                text = pl.col(name).cast(pl.String)
                frames = [frame.with_columns(text) for frame in frames]
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise InputError(
            "the files of data.path, data.valid_path and data.test_path do not match: "
            f"{str(error).splitlines()[0]}; give each column the same type in all"
        ) from None


def columns_read(config: DataConfig) -> set[str]:
    """Return the names of the columns of the log that a configuration names."""
    names = {name for name in asdict(config.columns).values() if name is not None}
    for side, features in SIDES.items():
        if getattr(config, f"{side}s_path") is None:
            names |= set(getattr(config, features))
    return names


def table_files(config: DataConfig) -> list[tuple[int, Path]]:
    """Files of a log and the part of each: 0 train, 1 valid, 2 test."""
    check_meaning(config.columns, config.min_rating)
    _check_values(config)
    files = [(0, path) for path in need_tables(config.path, "data.path")]
    for part, key in ((1, "valid_path"), (2, "test_path")):
        if getattr(config, key) is not None:
            files.append((part, need_file(getattr(config, key), f"data.{key}")))
    return files


def rows_of(
    frame: pl.DataFrame, where: str, part: int, first_row: int, config: DataConfig
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Canonical rows of a table, one per listed item, and what was left out."""
    if not holds_lists(frame, config):
        return canonical(frame, where, part, config), {}
    listed, own, dropped = rows_of_lists(frame, config, where)
    rows = canonical(listed, f"{where}, one row per listed item", part, own)
    if config.columns.request is None:
        rows = rows.with_columns(pl.col("request") + first_row)
    return rows, dropped


def _check_clicks(frame: pl.DataFrame, where: str, config: DataConfig) -> None:
    """Check that a file has a value of a click."""
    name = config.columns.clicked
    if name is None or name not in frame.columns:
        return  # refused with the rows
    if not isinstance(frame.schema[name], pl.List):
        check_clicks(frame[name], where, name, config.clicked_values)


def load(config: DataConfig) -> FunnelLog:
    """Log of ``data.path`` (part 0), ``valid_path`` (part 1) and ``test_path`` (2).

    ``data.path`` is a file, or a folder of files of one format, read in the order of
    their names. Without a column ``clicked``, ``rating`` or ``stage`` every row is a
    positive. With ``clicked`` (0/1, or ``data.clicked_values``) the other rows are
    exposed; with ``rating`` those below ``data.min_rating`` are. Cells that list items
    become a row per item, one request per list (`data.sources.lists`).
    """
    frames: list[pl.DataFrame] = []
    dropped: dict[str, int] = {}
    layout = Layout(config.separator, config.header, config.list_separator)
    first_row = 0
    for part, path in table_files(config):
        frame = read_table(path, layout, keep=columns_read(config))
        if config.clicked_values or not holds_lists(frame, config):
            _check_clicks(frame, str(path), config)
        rows, counts = rows_of(frame, str(path), part, first_row, config)
        if rows.is_empty():
            raise InputError(
                f"{path}: no row of column {config.columns.item!r} lists an item; "
                "check data.columns.item and data.list_separator"
            )
        first_row += len(frame)
        frames.append(rows)
        for reason, number in counts.items():
            dropped[reason] = dropped.get(reason, 0) + number
    log = stack(frames)
    frames.clear()
    users, items = (side_table(_first_rows(log, side), side, config) for side in SIDES)
    return build_log(
        log.drop(unused(log.columns, config)),
        where=str(config.path),
        users=users,
        items=items,
        dropped=dropped,
    )


def _first_rows(log: pl.DataFrame, side: str) -> pl.DataFrame:
    return log.unique(subset=side, keep="first", maintain_order=True)


def unused(columns: list[str], config: DataConfig) -> list[str]:
    """The canonical columns that are no part of a log: features, and one part."""
    one_part = config.valid_path is None and config.test_path is None
    return [name for name in columns if ":" in name or (one_part and name == "part")]
