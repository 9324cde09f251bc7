"""Wikispeedia: players click from page to page toward a target page.

The query is (current page, target page), the links of the current page are the
exposed items, and the clicked link is the positive.
"""

from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import polars as pl

from twotower_jax.data.build import SideTable, build_log
from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.sources.files import (
    decode_lines,
    need_folder,
    need_in_folder,
    need_whole,
)
from twotower_jax.errors import InputError

BACK = "<"
HINT = "articles.tsv, links.tsv, categories.tsv and paths_unfinished.tsv"
UNFINISHED, FINISHED = "paths_unfinished.tsv", "paths_finished.tsv"


class Clicks(NamedTuple):
    """Forward clicks [n]: current page, clicked page, target page, time."""

    current: list[int]
    clicked: list[int]
    target: list[int]
    time: list[float]


class Names(dict):
    """Codes of decoded page names; a new name gets the next code."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


def _rows(path: Path, width: int) -> list[tuple[int, list[str]]]:
    """Return (line number, fields) without comments and empty lines."""
    rows = []
    for number, line in enumerate(decode_lines(path), start=1):
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != width:
            raise InputError(
                f"{path}: line {number} has {len(fields)} fields separated by tabs "
                f"instead of {width}; repair or remove the line"
            )
        rows.append((number, fields))
    need_whole(path)
    return rows


def _walk(path: list[int | None]) -> list[tuple[int, int]]:
    """Return the forward clicks (from, to) of a path; None is a back click.

    A back click returns to the page before, like the button of a browser; on the
    first page it has no effect.
    """
    stack: list[int] = []
    clicks: list[tuple[int, int]] = []
    for page in path:
        if page is None:
            if len(stack) > 1:
                stack.pop()
            continue
        if stack:
            clicks.append((stack[-1], page))
        stack.append(page)
    return clicks


def _read_games(path: Path, finished: bool, names: Names, clicks: Clicks) -> None:
    """Add the clicks of a file of paths; a finished one ends with its target."""
    for number, fields in _rows(path, 5 if finished else 6):
        try:
            time = float(fields[1])
        except ValueError:
            raise InputError(
                f"{path}: line {number}: {fields[1]!r} is not a time; give seconds "
                "since 1970 in the second field"
            ) from None
        pages = fields[3].split(";")
        if pages[0] in ("", BACK):
            raise InputError(
                f"{path}: line {number}: the path {fields[3]!r} does not begin with a "
                "page; repair or remove the line"
            )
        target = pages[-1] if finished else fields[4]
        steps = [None if page == BACK else names[unquote(page)] for page in pages]
        goal = names[unquote(target)]
        for current, clicked in _walk(steps):
            clicks.current.append(current)
            clicks.clicked.append(clicked)
            clicks.target.append(goal)
            clicks.time.append(time)


def _read_links(path: Path, names: Names) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct links as pages from and to, sorted by page from."""
    rows = _rows(path, 2)
    source = np.array([names[unquote(f[0])] for _, f in rows], np.int64)
    target = np.array([names[unquote(f[1])] for _, f in rows], np.int64)
    distinct = np.unique(source * len(names) + target)
    return distinct // len(names), distinct % len(names)


def _on_links(
    clicks: Clicks, links: tuple[np.ndarray, np.ndarray], num: int
) -> tuple[Clicks, dict[str, int]]:
    """Return the clicks on links of their page, and the number of other clicks.

    The links are those of one day, the games of many: a page may have lost a link.
    """
    source, target = links
    keys = np.array(clicks.current, np.int64) * num + np.array(clicks.clicked)
    linked = np.isin(keys, source * num + target)
    columns: Any = (list(compress(column, linked)) for column in clicks)
    kept = Clicks(*columns)
    return kept, {"clicks on pages that are not linked": int((~linked).sum())}


def _expose(
    clicks: Clicks, links: tuple[np.ndarray, np.ndarray], num: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return request, item and clicked [rows] of all clicks and all other links.

    The rows of a request follow each other, the click first.
    """
    current, clicked = np.array(clicks.current), np.array(clicks.clicked)
    source, target = links
    degree = np.bincount(source, minlength=num)
    start = np.cumsum(degree) - degree
    shown = degree[current]
    # Row j of a request is link number j of its page: no loop over exposures.
    request = np.repeat(np.arange(len(current)), shown)
    place = np.arange(len(request)) - np.repeat(np.cumsum(shown) - shown, shown)
    item = target[np.repeat(start[current], shown) + place]
    other = item != clicked[request]
    request = np.concatenate([np.arange(len(current)), request[other]])
    item = np.concatenate([clicked, item[other]])
    is_click = np.arange(len(request)) < len(current)
    order = np.argsort(request, kind="stable")
    return request[order], item[order], is_click[order]


def _categories(path: Path) -> pl.DataFrame:
    """Return columns item and category: a list of every level of its categories."""
    levels: dict[str, list[str]] = {}
    for _, (article, category) in _rows(path, 2):
        parts = category.split(".")
        # "subject" alone is the root of all.
        depths = range(min(2, len(parts)), len(parts) + 1)
        of_article = levels.setdefault(unquote(article), [])
        of_article.extend(".".join(parts[:depth]) for depth in depths)
    schema = {"item": pl.String, "category": pl.List(pl.String)}
    columns = {"item": list(levels), "category": list(levels.values())}
    return pl.DataFrame(columns, schema=schema)


def _queries(
    clicks: Clicks, names: list[str], articles: list[str]
) -> tuple[pl.Series, pl.DataFrame]:
    """Return the query of each click as text, and the table of distinct queries."""
    vocabulary = pl.Enum(articles)
    page = pl.Series(names, dtype=pl.String)
    pages = pl.DataFrame(
        {"current": page.gather(clicks.current), "target": page.gather(clicks.target)}
    ).with_columns(user=pl.concat_str("current", pl.lit(" -> "), "target"))
    table = pages.unique(subset="user", keep="first", maintain_order=True)
    return pages["user"], table.with_columns(
        # Names typed by players that are not articles are missing values.
        pl.col("current", "target").cast(vocabulary, strict=False)
    )


def _games(folder: Path) -> list[Path]:
    """Return the files of games, at least one of them."""
    games = [folder / name for name in (UNFINISHED, FINISHED)]
    existing = [path for path in games if path.exists()]
    return existing or [need_in_folder(folder, UNFINISHED, HINT)]


def _frame(
    clicks: Clicks,
    links: tuple[np.ndarray, np.ndarray],
    names: list[str],
    user: pl.Series,
) -> pl.DataFrame:
    """Return the rows of the log: each click, and the other links of its page."""
    request, item, clicked = _expose(clicks, links, len(names))
    stage = np.where(clicked, int(Stage.CLICKED), int(Stage.EXPOSED)).astype(np.int8)
    return pl.DataFrame(
        {
            "user": user.gather(request),
            "item": pl.Series(names, dtype=pl.String).gather(item),
            "time": np.array(clicks.time)[request],
            "stage": stage,
            "request": request,
        }
    )


def load(config: DataConfig) -> FunnelLog:
    """Log of a folder of Wikispeedia: unfinished paths, and finished ones if present.

    Each forward click is a request of the query "current -> target": the clicked
    page is its positive, every other link of the current page an exposed row. A click
    on a page that is not linked from the current one is dropped and counted. All
    clicks of a game have the time of the game. The catalogue is every article.
    Query features: current, target (categorical with the same codes); item feature:
    category (multi).
    """
    folder = need_folder(config.path, "data.path", HINT)
    files = {
        name: need_in_folder(folder, f"{name}.tsv", HINT)
        for name in ("articles", "links", "categories")
    }
    names = Names()
    for _, (article,) in _rows(files["articles"], 1):
        names[unquote(article)]
    articles = list(names)
    games = _games(folder)
    clicks = Clicks([], [], [], [])
    for path in games:
        _read_games(path, path.name == FINISHED, names, clicks)
    links = _read_links(files["links"], names)
    clicks, dropped = _on_links(clicks, links, len(names))
    if not clicks.current:
        raise InputError(f"{games[0]}: holds no click; give games with clicks")
    user, users = _queries(clicks, list(names), articles)
    return build_log(
        _frame(clicks, links, list(names), user),
        where=str(folder),
        users=SideTable(users),
        items=SideTable(_categories(files["categories"])),
        catalogue=pl.Series(articles, dtype=pl.String),
        dropped=dropped,
    )
