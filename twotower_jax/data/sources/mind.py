"""MIND: news shown together, clicks on them, and clicks before the log.

Wu et al., MIND: A Large-scale Dataset for News Recommendation, ACL 2020. A folder holds
behaviors.tsv (impression, user, time, history, impressions) and news.tsv.
"""

from pathlib import Path

import polars as pl

from twotower_jax.data.build import SideTable, build_log
from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.parse import fail_at
from twotower_jax.data.sources.files import need_folder, need_in_folder, read_fields
from twotower_jax.errors import InputError

BEHAVIORS, NEWS = "behaviors.tsv", "news.tsv"
HINT = (
    "behaviors.tsv and news.tsv, or the one that holds the folders MINDsmall_train "
    "and MINDsmall_dev (or those of MINDlarge)"
)
BEHAVIOR_FIELDS = ("impression", "user", "time", "history", "shown")
NEWS_FIELDS = (
    "item",
    "category",
    "subcategory",
    "title",
    "abstract",
    "url",
    "title_entities",
    "abstract_entities",
)
TIME_FORMAT = "%m/%d/%Y %I:%M:%S %p"
# The labels of the test part are not public; papers report on dev.
PARTS = {"train": 0, "dev": 2}


def _folders(folder: Path) -> dict[int, Path]:
    """Return the folder of each part; a folder that holds the files is part 0."""
    if (folder / BEHAVIORS).exists():
        return {0: folder}
    folders: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        part = PARTS.get(path.name.rsplit("_", 1)[-1].lower())
        if part is None or not path.is_dir():
            continue
        if part in folders:
            raise InputError(
                f"data.path={str(folder)!r} holds {folders[part].name!r} and "
                f"{path.name!r}; keep one of them in the folder"
            )
        folders[part] = path
    if 0 not in folders:
        raise InputError(
            f"data.path={str(folder)!r} holds no {BEHAVIORS} and no folder that ends "
            f"with 'train'; give the folder with {HINT}"
        )
    return dict(sorted(folders.items()))


def _read_behaviors(folder: Path) -> pl.DataFrame:
    """Return impressions with columns user, time (seconds), history and shown.

    History and shown are lists of text; a missing history is an empty list.
    """
    path = need_in_folder(folder, BEHAVIORS, HINT)
    where = str(path)
    frame = read_fields(path, "\t", len(BEHAVIOR_FIELDS))
    frame = frame.rename(dict(zip(frame.columns, BEHAVIOR_FIELDS, strict=True)))
    for name in ("user", "shown"):
        empty = frame[name].str.strip_chars() == ""
        fail_at(empty, frame[name], where, name, "is empty; give it, or remove the row")
    time = frame["time"].str.to_datetime(TIME_FORMAT, strict=False)
    problem = "is not a time such as '11/11/2019 9:05:58 AM'; give it in that form"
    fail_at(time.is_null(), frame["time"], where, "time", problem)
    words = pl.col("history", "shown").str.extract_all(r"\S+")
    frame = frame.with_columns(words, time=time.dt.epoch("us") / 1e6)
    _check_labels(frame["shown"], where)
    return frame.select("user", "time", "history", "shown")


def _check_labels(shown: pl.Series, where: str) -> None:
    """Check that every shown news has a label."""
    each = pl.DataFrame({"shown": shown}).with_row_index("row").explode("shown")
    bad = each.filter(~pl.col("shown").str.contains(r"^.+-[01]$"))
    if len(bad):
        row, news = bad.row(0)
        raise InputError(
            f"{where}: row {row + 1}, column 'impressions': {news!r} has no label -0 "
            "or -1 (those of MIND's test part are not public); give 'news-1' for a "
            "click, else 'news-0'"
        )


def _shown(frame: pl.DataFrame) -> pl.DataFrame:
    """Return one row per news of an impression."""
    rows = frame.select("user", "time", "request", "part", "shown").explode("shown")
    label = pl.col("shown").str.slice(-1) == "1"
    return rows.select(
        "user",
        "time",
        "request",
        "part",
        item=pl.col("shown").str.head(-2),
        stage=pl.lit(int(Stage.EXPOSED), pl.Int8) + label.cast(pl.Int8),
    )


def _history(frame: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """Return one positive per click of a history, dated before all impressions.

    The data has the order of these clicks but not their times: the last one of a user
    is dated one second before the first impression of all, the one before it two
    seconds, and so on, so that they are always training data. The history of a user
    is that of the first impression in each part, without clicks that are training
    positives already.
    """
    rows = frame.unique(subset=["user", "part"], keep="first", maintain_order=True)
    rows = rows.select("user", "history").explode("history").drop_nulls()
    rows = rows.rename({"history": "item"})
    rows = rows.unique(keep="first", maintain_order=True)
    clicked = (pl.col("stage") == int(Stage.CLICKED)) & (pl.col("part") == 0)
    rows = rows.join(
        shown.filter(clicked), on=["user", "item"], how="anti", maintain_order="left"
    )
    place = pl.len().over("user") - pl.int_range(pl.len()).over("user")
    first = frame["time"].min()
    codes = pl.col("user").rank("dense").cast(pl.Int64)
    return rows.select(
        "user",
        time=pl.lit(first, pl.Float64) - place,
        # One request per user, in which nothing else was shown.
        request=codes + (len(frame) - 1),
        part=pl.lit(0, pl.Int8),
        item="item",
        stage=pl.lit(int(Stage.CLICKED), pl.Int8),
    )


def _read_news(folder: Path) -> pl.DataFrame:
    path = need_in_folder(folder, NEWS, HINT)
    frame = read_fields(path, "\t", len(NEWS_FIELDS))
    frame = frame.rename(dict(zip(frame.columns, NEWS_FIELDS, strict=True)))
    empty = frame["item"].str.strip_chars() == ""
    fail_at(empty, frame["item"], str(path), "news id", "is empty; give it")
    return frame.select(
        "item",
        "category",
        "subcategory",
        title=pl.col("title").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+"),
    )


def load(config: DataConfig) -> FunnelLog:
    """Log of MIND: a shown news is exposed, a clicked one is a positive.

    A request is an impression. With ``data.history_clicks`` the clicks of the histories
    are training positives, dated before all impressions; they have no exposed rows.
    If the folder holds train and dev, dev is the test part (for data.split=given).
    The catalogue is every news. Item features: category, subcategory (categorical)
    and the words of the title (multi).
    """
    folders = _folders(need_folder(config.path, "data.path", HINT))
    part = pl.Int8
    frames = [
        _read_behaviors(path).with_columns(part=pl.lit(code, part))
        for code, path in folders.items()
    ]
    frame = pl.concat(frames).with_row_index("request")
    frame = frame.with_columns(pl.col("request").cast(pl.Int64))
    news = pl.concat([_read_news(path) for path in folders.values()])
    news = news.unique(subset="item", keep="first", maintain_order=True)
    rows = _shown(frame)
    if config.history_clicks:
        rows = pl.concat([_history(frame, rows), rows], how="diagonal")
    if len(folders) == 1:
        rows = rows.drop("part")
    return build_log(
        rows,
        where=str(config.path),
        items=SideTable(news),
        catalogue=news["item"],
    )
