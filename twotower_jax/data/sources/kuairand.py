"""KuaiRand (Gao et al., CIKM 2022): shown videos, some of them drawn at random.

The versions Pure, 1K and 27K. Logs are read file by file, and of each only the columns
user, video, time and feedback.
"""

from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import csv

from twotower_jax.data import parse
from twotower_jax.data.build import SideTable, build_log
from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import FunnelLog
from twotower_jax.data.parse import to_clicked
from twotower_jax.data.sources.files import (
    need_columns,
    need_folder,
    need_in_folder,
    need_whole,
    read_table,
    read_text,
)
from twotower_jax.data.split import TEST, TRAIN, VALID
from twotower_jax.data.weights import KEY, to_weight
from twotower_jax.errors import InputError

HINT = "log_standard_4_08_to_4_21_pure.csv (or 1k, 27k) and the files beside it"
EARLY = "log_standard_4_08_to_4_21"
LATE = "log_standard_4_22_to_5_08"
RANDOM = "log_random_4_22_to_5_08"
STATISTIC = "video_features_statistic"
VERSIONS = ("pure", "1k", "27k")
# Number of files of a table that a version splits.
PARTS = {("27k", EARLY): 2, ("27k", LATE): 2, ("27k", STATISTIC): 3}
_NUMBERS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
USER_KINDS = {
    **dict.fromkeys(
        (
            "user_active_degree",
            "is_lowactive_period",
            "is_live_streamer",
            "is_video_author",
            *(f"{name}_range" for name in _NUMBERS),
            *(f"onehot_feat{i}" for i in range(18)),
        ),
        "categorical",
    ),
    **dict.fromkeys(_NUMBERS, "numeric"),
}
ITEM_KINDS = {
    "author_id": "categorical",
    "video_type": "categorical",
    "upload_dt": "numeric",
    "upload_type": "categorical",
    "visible_status": "categorical",
    "video_duration": "numeric",
    "server_width": "numeric",
    "server_height": "numeric",
    "music_id": "categorical",
    "music_type": "categorical",
    "tag": "multi",
}


def _version(folder: Path) -> str:
    """Return the version whose logs a folder holds."""
    versions = [v for v in VERSIONS if list(folder.glob(f"log_standard_*_{v}*.csv"))]
    if not versions:
        raise InputError(
            f"data.path={str(folder)!r} holds no log; give the folder with {HINT}"
        )
    if len(versions) > 1:
        raise InputError(
            f"data.path={str(folder)!r} holds the versions {' and '.join(versions)}; "
            "give each a folder of its own"
        )
    return versions[0]


def _files(folder: Path, stem: str, version: str) -> list[Path]:
    """Return the files of one table, all of which must exist."""
    parts = PARTS.get((version, stem), 1)
    endings = [f"_part{i}" for i in range(1, parts + 1)] if parts > 1 else [""]
    names = [f"{stem}_{version}{ending}.csv" for ending in endings]
    return [need_in_folder(folder, name, HINT) for name in names]


def read_whole_numbers(path: Path, columns: list[str]) -> pl.DataFrame:
    """Columns of whole numbers of a csv file."""
    need_whole(path)
    types = dict.fromkeys(columns, pa.int64())
    convert = csv.ConvertOptions(include_columns=columns, column_types=types)
    try:
        # Polars does not notice a line with too many fields when it reads few columns.
        table = csv.read_csv(path, convert_options=convert)
        frame = pl.DataFrame(pl.from_arrow(table))
    except (pa.ArrowException, OSError, KeyError):
        frame = _numbers_of_text(path, columns)
    if len(frame) == 0:
        raise InputError(f"{path}: has a header and no rows; download it again")
    for name in columns:
        problem = (
            "is not allowed; repair the row, or download the file again (it may be cut "
            "off)"
        )
        parse.fail_at(frame[name].is_null(), frame[name], str(path), name, problem)
    return frame


def _numbers_of_text(path: Path, columns: list[str]) -> pl.DataFrame:
    """Read the columns as text: slower, but it finds the row and value of an error."""
    text = read_text(path, ",")
    for name in columns:
        need_columns(text, {f"the header of {path.name}": name}, str(path))
    frame = text.select(columns).cast(pl.Int64, strict=False)
    for name in columns:
        bad = frame[name].is_null() & text[name].is_not_null()
        problem = "is not a whole number; repair the row, or download the file again"
        parse.fail_at(bad, text[name], str(path), name, problem)
    return frame


def _read_log(path: Path, config: DataConfig, part: int) -> pl.DataFrame:
    """Return columns user, item, time, stage and part of one log file, and weight."""
    clicked, weight = config.kuairand.clicked, config.columns.weight
    # The last column is read to notice lines that were cut off.
    columns = ["user_id", "video_id", "time_ms", clicked, "tab"]
    if weight is not None:
        need_columns(read_text(path, ",", rows=1), {KEY: weight}, str(path))
        columns.append(weight)
    frame = read_whole_numbers(path, list(dict.fromkeys(columns)))
    rows = frame.select(
        user="user_id",
        item="video_id",
        time=pl.col("time_ms") / 1000,
        stage=to_clicked(frame[clicked], str(path), clicked),
        part=pl.lit(part, pl.Int8),
    )
    if weight is None:
        return rows
    return rows.with_columns(weight=to_weight(frame[weight], rows["stage"], str(path)))


def _features(path: Path, key: str, kinds: dict[str, str]) -> pl.DataFrame:
    """Return the columns of a table of features, with ids and numbers parsed."""
    need_whole(path)
    frame = read_table(path)
    for name in (key, *kinds):
        need_columns(frame, {f"the header of {path.name}": name}, str(path))
    ids = parse.text_to_ids(parse.to_ids(frame[key], str(path), key))
    again = ~ids.is_first_distinct()
    parse.fail_at(again, ids, str(path), key, "occurs twice; download it again")
    out = {key: ids}
    for name, kind in kinds.items():
        out[name] = frame[name]
        if name == "upload_dt":
            out[name] = _date(frame[name], str(path), name)
        elif kind == "numeric":
            out[name] = parse.to_number(frame[name], str(path), name, required=False)
        elif kind == "multi":
            out[name] = frame[name].str.split(",")
    return pl.DataFrame(out)


def _date(values: pl.Series, where: str, column: str) -> pl.Series:
    """Return days since 1970 of dates such as 2022-04-10; a missing one is null."""
    days = values.str.to_date("%Y-%m-%d", strict=False)
    bad = days.is_null() & values.is_not_null()
    parse.fail_at(bad, values, where, column, "is not a date such as 2022-04-10")
    return days.cast(pl.Int32).cast(pl.Float64)


def _statistics(
    paths: list[Path], names: tuple[str, ...], items: pl.Series
) -> pl.DataFrame:
    """Return the named statistics of the videos of the log."""
    kinds = dict.fromkeys(names, "numeric")
    frames = []
    for path in paths:
        frame = _features(path, "video_id", kinds)
        frames.append(frame.filter(pl.col("video_id").is_in(items.implode())))
    return pl.concat(frames).unique("video_id", keep="first", maintain_order=True)


def _check_split(config: DataConfig) -> None:
    """Check that the split fits the kind of test part."""
    random = config.kuairand.test == "random"
    if random != (config.split == "given"):
        other = "standard" if random else "random"
        right = "given" if random else "temporal, ratio or leave_last_out"
        raise InputError(
            f"data.kuairand.test={config.kuairand.test} does not fit data.split="
            f"{config.split}; set data.split={right}, or data.kuairand.test={other}"
        )


def _logs(folder: Path, version: str, random: bool) -> list[tuple[Path, int]]:
    """Return the files of logs, each with its part."""
    parts = {EARLY: TRAIN, LATE: VALID} | ({RANDOM: TEST} if random else {})
    return [
        (path, part)
        for stem, part in parts.items()
        for path in _files(folder, stem, version)
    ]


def load(config: DataConfig) -> FunnelLog:
    """Log of a folder of KuaiRand, or of its folder ``data``.

    Rows are shown videos; those with the feedback ``data.kuairand.clicked`` are
    clicked. With ``data.kuairand.test=random`` the standard log of the first two weeks
    is the train part, that of the later weeks the valid part, and the random log of
    the same later weeks the test part. User features: all of user_features; item
    features: all of video_features_basic and ``data.kuairand.statistics``.
    """
    _check_split(config)
    folder = need_folder(config.path, "data.path", HINT)
    if (folder / "data").is_dir():
        folder = folder / "data"
    version = _version(folder)
    random = config.kuairand.test == "random"
    logs = _logs(folder, version, random)
    (users,) = _files(folder, "user_features", version)
    (videos,) = _files(folder, "video_features_basic", version)
    names = config.kuairand.statistics
    statistics = _files(folder, STATISTIC, version) if names else []
    rows = pl.concat([_read_log(path, config, part) for path, part in logs])
    items = _features(videos, "video_id", ITEM_KINDS)
    item_kinds = ITEM_KINDS | dict.fromkeys(names, "numeric")
    if names:
        means = _statistics(statistics, names, rows["item"].unique())
        items = items.join(means, on="video_id", how="left", maintain_order="left")
    return build_log(
        rows if random else rows.drop("part"),
        where=str(folder),
        users=SideTable(
            _features(users, "user_id", USER_KINDS).rename({"user_id": "user"}),
            USER_KINDS,
            str(users),
        ),
        items=SideTable(items.rename({"video_id": "item"}), item_kinds, str(videos)),
    )
