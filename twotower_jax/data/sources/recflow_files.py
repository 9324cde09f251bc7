"""Files of RecFlow: the days in a folder, and the columns of a day."""

import functools
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl

from twotower_jax.config.kuaishou import RecFlowConfig
from twotower_jax.data.log import Stage
from twotower_jax.data.sources.feather import check_columns, read_column
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
