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

from collections import Counter
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax import keys
from twotower_jax.config.data import DataConfig
from twotower_jax.config.kuaishou import RecFlowConfig
from twotower_jax.data import parse
from twotower_jax.data.build import SideTable, build_log
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.parse_clicks import to_clicked
from twotower_jax.data.sources.files import need_folder
from twotower_jax.data.sources.recflow_files import (
    FLAGS,
    HINT,
    ITEM_KINDS,
    PLACES,
    UNFLAGGED,
    USER_KINDS,
    Column,
    day_columns,
    days_of,
)
from twotower_jax.data.split import TEST, TRAIN, VALID
from twotower_jax.data.times import to_time


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
