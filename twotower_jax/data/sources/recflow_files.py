"""Files of RecFlow: the days in a folder, and the columns of a day."""

import functools
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from twotower_jax.config.kuaishou import RecFlowConfig
from twotower_jax.data.log import Stage
from twotower_jax.data.sources.feather import check_columns, read_column
from twotower_jax.data.sources.pickled_arrays import read_pickled_arrays
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
# Columns of the arrays in request_id_dict; the last one is effective_view.
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
_LARGEST = 2**63 - 1

_REMEDY = (
    "download the file again from its publisher, or leave the day out "
    "(data.recflow.days)"
)

# Name of a column -> the column [rows] of a day.
Column = Callable[[str], pl.Series]


def days_of(folder: Path, config: RecFlowConfig) -> list[date]:
    """Days of ``data.recflow.days``, in order."""
    first, *others = (
        {"realshow": ".feather", "request_id_dict": ".pkl"}
        if config.stages == "request_id_dict"
        else {"all_stage": ".feather"}
    ).items()
    available = sorted(_days_in(folder, *first, config))
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
        raise _no_days(config, folder / first[0], available)
    for name, ending in others:
        missing = sorted(set(days) - _days_in(folder, name, ending, config))
        if missing:
            raise InputError(
                f"{folder / name}: has no file of {missing[0]}; download it, or leave "
                "the day out (data.recflow.days)"
            )
    return days


def _days_in(folder: Path, name: str, ending: str, config: RecFlowConfig) -> set[date]:
    """Return the days that have a file in a folder of RecFlow."""
    if not (folder / name).is_dir():
        raise InputError(
            f"data.path={str(folder)!r} holds no folder {name!r}, which data.recflow."
            f"stages={config.stages} reads; give the folder with {HINT}"
        )
    days = set()
    for path in (folder / name).glob(f"[!.]*{ending}"):
        try:
            days.add(date.fromisoformat(path.stem))
        except ValueError:
            raise InputError(
                f"{path}: is not named after a day such as 2024-01-13{ending}; "
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


def _stage_arrays(path: Path) -> pl.DataFrame:
    """Return the rows of a day's request_id_dict without the shown ones.

    Columns request_id, flag (a place in FLAGS) and ARRAY_COLUMNS.
    """
    content = read_pickled_arrays(path)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: is not a dictionary of requests; {_REMEDY}")
    arrays, requests, flags = [], [], []
    for request, stages in content.items():
        number = isinstance(request, int) and abs(request) <= _LARGEST
        if not (number and isinstance(stages, dict)):
            raise InputError(f"{path}: {request!r:.50} is not a request; {_REMEDY}")
        for name, array in stages.items():
            if name not in FLAGS:
                raise InputError(
                    f"{path}: request {request} has a stage {name!r:.50}; the stages "
                    f"are: {', '.join(FLAGS)}; {_REMEDY}"
                )
            # An empty tuple stands for a stage without kept rows.
            if name == "realshow" or (hasattr(array, "__len__") and len(array) == 0):
                continue
            arrays.append(_checked(array, f"{path}: request {request}, {name!r}"))
            requests.append(request)
            flags.append(list(FLAGS).index(name))
    if not arrays:
        raise InputError(f"{path}: holds no discarded item of a stage; {_REMEDY}")
    _check_size(arrays, path)
    sizes = [len(array) for array in arrays]
    values = np.concatenate(arrays, dtype=np.int64, casting="unsafe")
    return pl.DataFrame(
        {
            "request_id": np.repeat(np.array(requests, np.int64), sizes),
            "flag": np.repeat(np.array(flags, np.int8), sizes),
            **{name: values[:, i] for i, name in enumerate(ARRAY_COLUMNS)},
        }
    )


def _check_size(arrays: list[np.ndarray], path: Path) -> None:
    """Check that numbers are not more than bytes: one array in many places."""
    numbers, size = sum(array.size for array in arrays), path.stat().st_size
    if numbers > size:
        raise InputError(
            f"{path}: holds {size:,} bytes, and {numbers:,} numbers by its requests, "
            f"which is the same array in many places; {_REMEDY}"
        )


def _checked(array: object, where: str) -> np.ndarray:
    """Return the columns of one stage of one request, whole numbers up to int64."""
    width = len(ARRAY_COLUMNS)
    if (
        not isinstance(array, np.ndarray)
        or array.dtype.kind not in "iu"
        or array.ndim != 2
        or array.shape[1] < width
    ):
        form = getattr(array, "shape", type(array).__name__)
        raise InputError(
            f"{where}: is {form} of {getattr(array, 'dtype', 'something else')} "
            f"instead of rows of {width} or more whole numbers; {_REMEDY}"
        )
    columns = array[:, :width]
    if columns.dtype == np.uint64 and len(columns) and columns.max() > _LARGEST:
        raise InputError(f"{where}: holds a number above {_LARGEST}; {_REMEDY}")
    return columns


def _joined(
    folder: Path, name: str, config: RecFlowConfig, dropped: Counter[str]
) -> pl.DataFrame:
    """Return a day of realshow and request_id_dict, in the columns of all_stage."""
    path = folder / "realshow" / f"{name}.feather"
    columns = [*IDS, config.clicked, *USER_KINDS, *ITEM_KINDS]
    check_columns(path, columns)
    shown = pl.DataFrame({name: read_column(path, name) for name in columns})
    discarded = _stage_arrays(folder / "request_id_dict" / f"{name}.pkl")
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
