"""RecFlow (Liu et al., ICLR 2025): a public log of what every stage threw out.

A day is a file, and days are read one after the other, a column at a time: of each,
only the rows that are kept stay in memory.

What the flags of a row say about the furthest stage that its video reached:

=========== ================================================== ============
flag        what it means                                      stage
=========== ================================================== ============
realshow    shown to the user                                  exposed
rerank_pos  among the ten best of re-ranking, not shown        re_ranked
rerank_neg  passed ranking, thrown out by re-ranking           ranked
rank_pos    among the ten best of ranking                      ranked
rank_neg    passed coarse ranking, thrown out by ranking       pre_ranked
coarse_neg  passed pre-ranking, thrown out by coarse ranking   pre_ranked
prerank_neg thrown out by pre-ranking                          retrieved
=========== ================================================== ============

A row with several flags is at the furthest of them, which is the highest in the table,
and a shown one with the chosen feedback is clicked.
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


class Day(NamedTuple):
    """What is kept of a day: rows of the log, and the users and items in them."""

    rows: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame


def _flags(column: Column, where: str) -> np.ndarray:
    """Return the furthest flag of each row [rows] int8: its place in FLAGS."""
    flag = None
    for place, name in reversed(list(enumerate(FLAGS))):
        stages = parse.to_clicked(column(name), where, name).to_numpy()
        if flag is None:
            flag = np.full(len(stages), UNFLAGGED, np.int8)
        flag[stages == Stage.CLICKED] = place
    assert flag is not None
    return flag


def _furthest(
    column: Column, where: str, ranked: bool, dropped: Counter[str]
) -> pl.DataFrame:
    """Return one row a request and video, at its furthest flag, in order of the file.

    Columns row (of the file), request, item, flag, stage and, if ``ranked``, rank: the
    place among the rows of the request that ended at the stage, from 0, -1 unknown.
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
        known = pl.when(pl.col("place") >= 0).then(pl.col("place"))
        rank = known.rank("dense").over("request", "stage").cast(pl.Int64) - 1
        one = one.with_columns(rank=rank.fill_null(-1)).drop("place")
    return one.sort("row")


def _sample(
    frame: pl.DataFrame, config: RecFlowConfig, day: date, dropped: Counter[str]
) -> pl.DataFrame:
    """Keep ``data.recflow.kept`` rows of each request and flag, each subset alike.

    The lots are those of the day: they do not depend on which other days are read.
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
    """Return what is kept of a day, given its columns."""
    ranked = config.stages == "all_stage"
    kept = _sample(_furthest(column, where, ranked, dropped), config, day, dropped)
    rows = kept["row"]

    def take(name: str) -> pl.Series:
        return column(name).gather(rows)

    shown = kept["stage"] == int(Stage.EXPOSED)
    feedback = column(config.clicked)
    others = np.ones(len(feedback), bool)
    others[rows.filter(shown).to_numpy()] = False
    # Only what was shown can be clicked: elsewhere the feedback is not looked at.
    feedback = feedback.set(pl.Series(others), 0)
    clicked = parse.to_clicked(feedback, where, config.clicked).gather(rows)
    time = parse.to_time(column("request_timestamp"), where, "request_timestamp")
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
    """Read the days of a RecFlow folder that ``data.recflow.days`` names.

    Every stage of a request gives rows (see the module), those of discarded videos
    thinned to ``data.recflow.kept``. With two days or more the last is the test part
    and, with three or more, the one before it the valid part (data.split=given).
    User features: device_id, age, gender, province; item features: author_id,
    category_level_one, category_level_two, upload_type (all categorical), duration and
    upload_timestamp (numeric). Each is that of the first row of its user or video.

    Raises:
      InputError: a missing or damaged folder, file, column or value.
    """
    folder = need_folder(config.path, "data.path", HINT)
    chosen = days_of(folder, config.recflow)
    dropped: Counter[str] = Counter()
    rows, users, items = [], [], []
    for number, day in enumerate(chosen, start=1):
        column, where = day_columns(folder, day, config.recflow, dropped)
        kept = _reduce(column, where, config.recflow, day, dropped)
        # The day itself ends here; only what is kept of it is still needed.
        del column
        part = _part(number, len(chosen))
        rows.append(kept.rows.with_columns(part=pl.lit(part, pl.Int8)))
        users.append(kept.users)
        items.append(kept.items)
    frame = pl.concat(rows)
    if len(chosen) == 1:
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
