"""RecFlow (Liu et al., ICLR 2025): a public log of the items that stages discarded.

A day is a file. Days are read one after the other, a column at a time, and only the
kept rows of each stay in memory.

Flags of a row, and the furthest stage of its video:

| flag | meaning | stage |
|---|---|---|
| realshow | shown to the user | exposed |
| rerank_pos | among the ten best of re-ranking, not shown | re_ranked |
| rerank_neg | passed ranking, discarded by re-ranking | ranked |
| rank_pos | among the ten best of ranking | ranked |
| rank_neg | passed coarse ranking, discarded by ranking | pre_ranked |
| coarse_neg | passed pre-ranking, discarded by coarse ranking | pre_ranked |
| prerank_neg | discarded by pre-ranking | retrieved |

A row with several flags is at the furthest of them, the highest in the table. A shown
row with the feedback ``data.recflow.clicked`` is clicked.
"""

import functools
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax import keys
from twotower_jax.data import parse
from twotower_jax.data.build import SideTable, build_log
from twotower_jax.data.config import DataConfig
from twotower_jax.data.kuaishou import RecFlowConfig
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.parse import to_clicked, to_time
from twotower_jax.data.sources.files import need_folder
from twotower_jax.data.sources.typed import check_columns, read_column
from twotower_jax.data.split import TEST, TRAIN, VALID
from twotower_jax.errors import InputError

HINT = "RecFlow: all_stage/DATE.feather, or realshow/DATE.feather and request_id_dict"
# The furthest flag first.
FLAGS = {
    "realshow": Stage.EXPOSED,
    "rerank_pos": Stage.RE_RANKED,
    "rerank_neg": Stage.RANKED,
    "rank_pos": Stage.RANKED,
    "rank_neg": Stage.PRE_RANKED,
    "coarse_neg": Stage.PRE_RANKED,
    "prerank_neg": Stage.RETRIEVED,
}
# Column of the rank of a row in the stage that discarded it.
PLACES = {
    "rerank_pos": "rerank_index",
    "rerank_neg": "rerank_index",
    "rank_neg": "rank_index",
}
USER_KINDS: dict[str, str] = dict.fromkeys(
    ("device_id", "age", "gender", "province"), "categorical"
)
ITEM_KINDS: dict[str, str] = dict.fromkeys(
    ("author_id", "category_level_one", "category_level_two", "upload_type"),
    "categorical",
) | {"duration": "numeric", "upload_timestamp": "numeric"}
# Columns of the tables in request_id_dict, beside request_id and flag.
ARRAY_COLUMNS = (
    "video_id",
    "author_id",
    "duration",
    "category_level_two",
    "upload_type",
    "upload_timestamp",
    "category_level_one",
)
IDS = ("request_id", "user_id", "video_id", "request_timestamp")
UNFLAGGED = len(FLAGS)

# Name of a column -> the column [rows] of a day.
Column = Callable[[str], pl.Series]


def days_of(folder: Path, config: RecFlowConfig) -> list[date]:
    """Days of ``data.recflow.days``, in order."""
    arrays = config.stages == "request_id_dict"
    first, *others = ("realshow", "request_id_dict") if arrays else ("all_stage",)
    available = sorted(_days_in(folder, first, config))
    days = available
    if config.days is not None and config.days.isdecimal():
        days = available[: int(config.days)]
        if len(days) < int(config.days):
            days = []
    elif config.days is not None:
        start, end = config.span()
        span = range(start.toordinal(), end.toordinal() + 1)
        days = [date.fromordinal(number) for number in span]
    if not days or not set(days) <= set(available):
        raise _no_days(config, folder / first, available)
    for name in others:
        missing = sorted(set(days) - _days_in(folder, name, config))
        if missing:
            raise InputError(
                f"{folder / name}: has no table of {missing[0]}; make it by "
                "experiments/papers/recflow/convert.py, or leave the day out "
                "(data.recflow.days)"
            )
    return days


def _days_in(folder: Path, name: str, config: RecFlowConfig) -> set[date]:
    """Return the days that have a file in a folder of RecFlow."""
    if not (folder / name).is_dir():
        raise InputError(
            f"data.path={str(folder)!r} holds no folder {name!r}, which data.recflow."
            f"stages={config.stages} reads; give the folder with {HINT}"
        )
    days = set()
    for path in (folder / name).glob("[!.]*.feather"):
        try:
            days.add(date.fromisoformat(path.stem))
        except ValueError:
            raise InputError(
                f"{path}: is not named after a day such as 2024-01-13.feather; "
                "rename the file, or move it away"
            ) from None
    return days


def _no_days(config: RecFlowConfig, folder: Path, available: list[date]) -> InputError:
    if not available:
        return InputError(
            f"{folder}: holds no file of a day; give the folder with {HINT}"
        )
    return InputError(
        f"data.recflow.days={config.days}: {folder} has files of {len(available)} "
        f"days, from {available[0]} to {available[-1]}, and not of all of these; give "
        "days that have files"
    )


def day_columns(
    folder: Path, day: date, config: RecFlowConfig, dropped: Counter[str]
) -> tuple[Column, str]:
    """Columns of a day."""
    if config.stages == "request_id_dict":
        joined = _joined(folder, day.isoformat(), config, dropped)
        return joined.get_column, str(folder / "realshow" / f"{day}.feather")
    path = folder / "all_stage" / f"{day}.feather"
    columns = [*IDS, *FLAGS, *PLACES.values(), config.clicked, *USER_KINDS, *ITEM_KINDS]
    check_columns(path, columns)
    return functools.partial(read_column, path), str(path)


def _discarded(path: Path) -> pl.DataFrame:
    """Return the rows of a day's request_id_dict; flag is a place in FLAGS."""
    columns = ["request_id", "flag", *ARRAY_COLUMNS]
    check_columns(path, columns)
    table = pl.DataFrame({name: read_column(path, name) for name in columns})
    if not table["flag"].is_between(0, len(FLAGS) - 1).all():
        raise InputError(
            f"{path}: column 'flag' has other values than 0 to {len(FLAGS) - 1}; make "
            "the file anew by experiments/papers/recflow/convert.py"
        )
    return table.with_columns(pl.col("flag").cast(pl.Int8))


def _joined(
    folder: Path, name: str, config: RecFlowConfig, dropped: Counter[str]
) -> pl.DataFrame:
    """Return a day of realshow and request_id_dict, in the columns of all_stage."""
    path = folder / "realshow" / f"{name}.feather"
    columns = [*IDS, config.clicked, *USER_KINDS, *ITEM_KINDS]
    check_columns(path, columns)
    shown = pl.DataFrame({name: read_column(path, name) for name in columns})
    discarded = _discarded(folder / "request_id_dict" / f"{name}.feather")
    of_request = ["request_id", "user_id", "request_timestamp", *USER_KINDS]
    requests = shown.select(of_request).unique("request_id", keep="first")
    kept = discarded.join(requests, on="request_id", maintain_order="left")
    dropped["rows of requests not shown"] += len(discarded) - len(kept)
    flag = pl.col("flag")
    both = pl.concat(
        [
            shown.with_columns(pl.lit(0, pl.Int8).alias("flag")),
            kept.with_columns(pl.lit(0, pl.Int64).alias(config.clicked)),
        ],
        how="diagonal",
    )
    return both.with_columns(
        *((flag == place).cast(pl.Int64).alias(one) for place, one in enumerate(FLAGS))
    )


class Day(NamedTuple):
    """Kept rows of a day, and the features of their users and items."""

    rows: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame


def _flags(column: Column, where: str) -> np.ndarray:
    """Return the furthest flag of each row [rows] int8: its place in FLAGS."""

    def is_set(name: str) -> np.ndarray:
        return to_clicked(column(name), where, name).to_numpy() == Stage.CLICKED

    *others, nearest = FLAGS
    flag = np.where(is_set(nearest), len(others), UNFLAGGED).astype(np.int8)
    for place in reversed(range(len(others))):
        flag[is_set(others[place])] = place
    return flag


def _furthest(
    column: Column, where: str, ranked: bool, dropped: Counter[str]
) -> pl.DataFrame:
    """Return one row per request and video, at its furthest flag, in order of the file.

    Columns row (of the file), request, item, flag, stage and, if ``ranked``, rank: the
    rank among the rows of the request that ended at the stage, from 0; -1: unknown.
    """
    flag = _flags(column, where)
    frame = pl.DataFrame(
        {
            "row": np.arange(len(flag)),
            "request": parse.to_ids(column("request_id"), where, "request_id"),
            "item": parse.to_ids(column("video_id"), where, "video_id"),
            "flag": flag,
            "stage": np.array([*FLAGS.values(), -1], np.int8)[flag],
        }
    )
    if ranked:
        place = pl.Series(np.full(len(flag), -1, np.int64))
        for name, index in PLACES.items():
            at = pl.Series(flag == list(FLAGS).index(name))
            place = parse.to_rank(column(index).set(~at, None), where, index).zip_with(
                at, place
            )
        frame = frame.with_columns(place=place)
    flagged = frame.filter(pl.col("flag") < UNFLAGGED)
    dropped["rows of no stage"] += len(frame) - len(flagged)
    pair = ["request", "item"]
    one = flagged.sort("flag", maintain_order=True).unique(
        pair, keep="first", maintain_order=True
    )
    dropped["further rows of a video"] += len(flagged) - len(one)
    if ranked:
        place = pl.when(pl.col("place") >= 0).then(pl.col("place"))
        rank = place.rank("dense").over("request", "stage").cast(pl.Int64) - 1
        one = one.with_columns(rank=rank.fill_null(-1)).drop("place")
    return one.sort("row")


def _sample(
    frame: pl.DataFrame, config: RecFlowConfig, day: date, dropped: Counter[str]
) -> pl.DataFrame:
    """Keep ``data.recflow.kept`` uniformly drawn rows of each request and flag.

    The draw depends on the day only, not on the other days that are read.
    """
    most = [len(frame), *(getattr(config.kept, name) for name in list(FLAGS)[1:])]
    lots = keys.generator(config.seed, "recflow", day.toordinal())
    place = (
        pl.Series(lots.permutation(len(frame)))
        .to_frame("lot")
        .with_columns(frame["request"], frame["flag"])
        .select(pl.col("lot").rank("ordinal").over("request", "flag"))
        .to_series()
    )
    kept = frame.filter(place <= pl.Series(np.array(most)[frame["flag"].to_numpy()]))
    dropped["rows beyond recflow.kept"] += len(frame) - len(kept)
    return kept


def _reduce(
    column: Column,
    where: str,
    config: RecFlowConfig,
    day: date,
    dropped: Counter[str],
) -> Day:
    """Return the kept rows of a day, given its columns."""
    ranked = config.stages == "all_stage"
    kept = _sample(_furthest(column, where, ranked, dropped), config, day, dropped)
    rows = kept["row"]

    def take(name: str) -> pl.Series:
        return column(name).gather(rows)

    shown = kept["stage"] == int(Stage.EXPOSED)
    feedback = column(config.clicked)
    others = np.ones(len(feedback), bool)
    others[rows.filter(shown).to_numpy()] = False
    # Only shown videos can be clicked: the feedback of other rows is not read.
    feedback = feedback.set(pl.Series(others), 0)
    clicked = to_clicked(feedback, where, config.clicked).gather(rows)
    time = to_time(column("request_timestamp"), where, "request_timestamp")
    kept = kept.with_columns(
        user=parse.to_ids(column("user_id"), where, "user_id").gather(rows),
        time=time.gather(rows) / 1000,
        stage=clicked.zip_with(shown, kept["stage"]),
    )
    tables = []
    for key, kinds in (("user", USER_KINDS), ("item", ITEM_KINDS)):
        first = kept.with_row_index("at").unique(key, keep="first", maintain_order=True)
        table = first.select(key)
        for name in kinds:
            table = table.with_columns(take(name).gather(first["at"]).alias(name))
        tables.append(table)
    return Day(kept.drop("row", "flag"), *tables)


def load(config: DataConfig) -> FunnelLog:
    """Log of the days ``data.recflow.days`` of a folder of RecFlow.

    Every stage of a request has rows (see the module); those of discarded videos are
    thinned to ``data.recflow.kept``. With two days or more the last is the test part
    and, with three or more, the one before it the valid part (data.split=given).
    User features: device_id, age, gender, province; item features: author_id,
    category_level_one, category_level_two, upload_type (all categorical), duration and
    upload_timestamp (numeric), each of the first row of its user or video.
    """
    folder = need_folder(config.path, "data.path", HINT)
    days = days_of(folder, config.recflow)
    dropped: Counter[str] = Counter()
    rows, users, items = [], [], []
    for number, day in enumerate(days, start=1):
        column, where = day_columns(folder, day, config.recflow, dropped)
        kept = _reduce(column, where, config.recflow, day, dropped)
        # Frees the columns of the day; only its kept rows are still needed.
        del column
        part = _part(number, len(days))
        rows.append(kept.rows.with_columns(part=pl.lit(part, pl.Int8)))
        users.append(kept.users)
        items.append(kept.items)
    frame = pl.concat(rows)
    if len(days) == 1:
        frame = frame.drop("part")
    return build_log(
        frame,
        where=str(folder),
        users=_side_table(users, "user", USER_KINDS),
        items=_side_table(items, "item", ITEM_KINDS),
        dropped=dict(dropped),
    )


def _side_table(
    tables: list[pl.DataFrame], key: str, kinds: dict[str, str]
) -> SideTable:
    """Return the features of all days; those of the first row of an id count."""
    table = pl.concat(tables).unique(key, keep="first", maintain_order=True)
    return SideTable(table, kinds)


def _part(number: int, days: int) -> int:
    """Return the part of day ``number`` of ``days``: the last is the test part."""
    if number == days:
        return TEST
    return VALID if number == days - 1 and days > 2 else TRAIN
