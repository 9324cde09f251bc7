"""Any log as a table: csv, tsv, parquet or feather, with columns named by config."""

import polars as pl

from twotower_jax.config.data import ColumnsConfig, DataConfig
from twotower_jax.data import parse
from twotower_jax.data.build import SideTable, build_log
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.sources.files import need_columns, need_file, read_table
from twotower_jax.errors import InputError

SIDES = {"user": "query_features", "item": "candidate_features"}


def stage_of_rating(
    ratings: pl.Series, minimum: float | None, where: str, column: str
) -> pl.Series:
    """Return stages (int8): CLICKED from the minimum on, EXPOSED below it.

    Without a minimum every rating is a positive.
    """
    numbers = parse.to_number(ratings, where, column)
    return parse.clicked_stage(
        numbers >= (float("-inf") if minimum is None else minimum)
    )


def check_meaning(columns: ColumnsConfig, min_rating: float | None) -> None:
    """Raise InputError unless at most one column says what a positive is."""
    named = [n for n in ("clicked", "rating", "stage") if getattr(columns, n)]
    if len(named) > 1:
        raise InputError(
            "data.columns names "
            + " and ".join(f"{name}={getattr(columns, name)}" for name in named)
            + ", and only one of them can say which rows are positives; keep one"
        )
    if min_rating is not None and not columns.rating:
        raise InputError(
            f"data.min_rating={min_rating} needs a column of ratings; set "
            "data.columns.rating to its name"
        )


def _stage(frame: pl.DataFrame, config: DataConfig, where: str) -> pl.Series | None:
    columns = config.columns
    if columns.clicked:
        return parse.to_clicked(frame[columns.clicked], where, columns.clicked)
    if columns.stage:
        return parse.to_stage(frame[columns.stage], where, columns.stage)
    if columns.rating:
        ratings = frame[columns.rating]
        return stage_of_rating(ratings, config.min_rating, where, columns.rating)
    return None


def _features(
    frame: pl.DataFrame, side: str, config: DataConfig, where: str
) -> dict[str, pl.Series]:
    """Return the feature columns of one side, numbers parsed (with row in errors)."""
    kinds: dict[str, str] = getattr(config, SIDES[side])
    need_columns(frame, {f"data.{SIDES[side]}.{n}": n for n in kinds}, where)
    return {
        name: parse.to_number(frame[name], where, name, required=False)
        if kind == "numeric"
        else frame[name]
        for name, kind in kinds.items()
    }


def canonical(
    frame: pl.DataFrame, where: str, part: int, config: DataConfig
) -> pl.DataFrame:
    """Return columns user, item, ..., and features as "user:name"."""
    columns = config.columns
    used = {
        f"data.columns.{key}": name
        for key in (
            "user",
            "item",
            "time",
            "clicked",
            "rating",
            "stage",
            "request",
            "rank",
        )
        if (name := getattr(columns, key)) is not None
    }
    need_columns(frame, used, where)
    out = {"part": pl.repeat(part, len(frame), dtype=pl.Int8, eager=True)}
    for key in ("user", "item", "request"):
        name = getattr(columns, key)
        if name is not None:
            ids = parse.to_ids(frame[name], where, name)
            out[key] = parse.text_to_ids(ids)
    if columns.time is not None:
        out["time"] = parse.to_time(frame[columns.time], where, columns.time)
    if columns.rank is not None:
        name = columns.rank
        out["rank"] = parse.to_rank(frame[name], where, name)
    stage = _stage(frame, config, where)
    if stage is not None:
        out["stage"] = stage
    for side in SIDES:
        if getattr(config, f"{side}s_path") is None:
            for name, values in _features(frame, side, config, where).items():
                out[f"{side}:{name}"] = values
    return pl.DataFrame(out)


def stack(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Put files below each other; ids that are text in one file are text in all."""
    try:
        for name in frames[0].columns:
            types = {frame[name].dtype for frame in frames}
            if len(types) > 1 and pl.String in types:
                text = pl.col(name).cast(pl.String)
                frames = [frame.with_columns(text) for frame in frames]
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise InputError(
            "the files of data.path, data.valid_path and data.test_path do not fit: "
            f"{str(error).splitlines()[0]}; give each column the same type in all"
        ) from None


def _side_table(log: pl.DataFrame, side: str, config: DataConfig) -> SideTable | None:
    """Return the features of one side, from their own file or from the log."""
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
        first = log.unique(subset=side, keep="first", maintain_order=True)
        columns = (pl.col(f"{side}:{name}").alias(name) for name in kinds)
        return SideTable(first.select(pl.col(side), *columns), kinds)
    path = need_file(path, f"data.{side}s_path")
    frame = read_table(path)
    key = getattr(config.columns, side)
    need_columns(frame, {f"data.columns.{side}": key}, str(path))
    ids = parse.text_to_ids(parse.to_ids(frame[key], str(path), key))
    features = _features(frame, side, config, str(path))
    return SideTable(pl.DataFrame({side: ids, **features}), kinds, str(path))


def load(config: DataConfig) -> FunnelLog:
    """Read ``data.path`` and, as parts 1 and 2, ``data.valid_path`` and ``test_path``.

    Without a column ``clicked``, ``rating`` or ``stage`` every row is a positive.
    With ``clicked`` (0/1) the other rows are exposed; with ``rating`` those below
    ``data.min_rating`` are.

    Raises:
      InputError: for anything wrong in the files, with file, row or column, value
        and remedy.
    """
    check_meaning(config.columns, config.min_rating)
    path = need_file(config.path, "data.path")
    frames = [canonical(read_table(path), str(path), 0, config)]
    for part, key in ((1, "valid_path"), (2, "test_path")):
        if getattr(config, key) is not None:
            path = need_file(getattr(config, key), f"data.{key}")
            frames.append(canonical(read_table(path), str(path), part, config))
    log = stack(frames)
    left_out = [name for name in log.columns if ":" in name]
    if len(frames) == 1:
        left_out.append("part")
    return build_log(
        log.drop(left_out),
        where=str(config.path),
        users=_side_table(log, "user", config),
        items=_side_table(log, "item", config),
    )
