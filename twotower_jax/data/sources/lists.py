"""Cells that hold lists, such as the items of an impression, as rows of a request."""

from dataclasses import replace

import polars as pl

from twotower_jax.data.config import DataConfig
from twotower_jax.data.parse import fail_at
from twotower_jax.data.sources.layout import SEPARATORS
from twotower_jax.errors import InputError

CLICKED, REQUEST, ROW = "/clicked", "/request", "/row"
# Roles whose cells may be lists beside that of the items, one value per item.
BESIDE = ("rating", "stage", "rank", "weight")


def holds_lists(frame: pl.DataFrame, config: DataConfig) -> bool:
    """Whether the column of items holds a list per row."""
    item = config.columns.item
    if item not in frame.columns:
        return False
    return isinstance(frame.schema[item], pl.List) or config.list_separator is not None


def rows_of_lists(
    frame: pl.DataFrame, config: DataConfig, where: str
) -> tuple[pl.DataFrame, DataConfig, dict[str, int]]:
    """Table with one row per listed item; the rows of a list are one request.

    Beside the items, ``data.columns.clicked`` holds as many 0 and 1, or the clicked
    items, or it is the same column and each item ends with -1 (clicked) or -0. With
    ``data.clicked_values`` it holds one event, that of all items of its row. Columns
    rating, stage, rank and weight may hold as long lists; the others are repeated.
    """
    columns = config.columns
    beside = [getattr(columns, role) for role in BESIDE]
    lists = [columns.item, *(name for name in beside if name is not None)]
    lists = [name for name in lists if _is_list(frame, name, config)]
    frame = _as_lists(frame.with_row_index(ROW), lists, config)
    kept = frame.filter(pl.col(columns.item).list.len() > 0)
    empty = len(frame) - len(kept)
    rows = _take_apart(kept, lists, config, where)
    names = replace(
        columns,
        clicked=CLICKED if _marks_items(config) else columns.clicked,
        request=columns.request or REQUEST,
    )
    dropped = {"rows without items": empty} if empty else {}
    return rows, replace(config, columns=names), dropped


def _take_apart(
    frame: pl.DataFrame, lists: list[str], config: DataConfig, where: str
) -> pl.DataFrame:
    """Return a row per listed item, with its clicks and the request of its list."""
    lengths = frame[config.columns.item].list.len()
    for name in lists:
        _check_lengths(frame, name, lengths, where)
    frame, flagged = _with_clicks(frame, config, where)
    rows = frame.explode(*lists, *([CLICKED] if flagged else []))
    if _marks_items(config) and not flagged:
        rows = _clicked_of_shown(rows, frame, config, where)
    return rows.rename({ROW: REQUEST}).with_columns(pl.col(REQUEST).cast(pl.Int64))


def _marks_items(config: DataConfig) -> bool:
    """Return whether the column of clicks marks single items, not whole rows."""
    return config.columns.clicked is not None and not config.clicked_values


def _check_event(frame: pl.DataFrame, config: DataConfig, where: str) -> None:
    """Check that a row has one event, not a list of them."""
    clicked, item = config.columns.clicked, config.columns.item
    if clicked == item or isinstance(frame.schema.get(clicked or ""), pl.List):
        raise InputError(
            f"{where}: data.columns.clicked={clicked} holds lists, and "
            f"data.clicked_values={list(config.clicked_values)} are events of whole "
            "rows; leave data.clicked_values out, or name a column of one event a row"
        )


def _is_list(frame: pl.DataFrame, name: str, config: DataConfig) -> bool:
    """Return whether a column holds lists, or texts of lists."""
    dtype = frame.schema.get(name)
    text = config.list_separator is not None and dtype == pl.String
    return text or isinstance(dtype, pl.List)


def _as_lists(
    frame: pl.DataFrame, names: list[str], config: DataConfig
) -> pl.DataFrame:
    """Return the table with lists in place of texts of lists; null is an empty list."""
    separator = SEPARATORS[config.list_separator or "comma"]
    changed = []
    for name in names:
        values = pl.col(name)
        if frame.schema[name] == pl.String:
            # Brackets and quotes, as in "['a', 'b']", are not part of the ids.
            words = values.str.strip_chars(" []()").str.split(separator)
            word = pl.element().str.strip_chars(" '\"")
            values = words.list.eval(word.filter(word != ""))
        changed.append(values.fill_null([]).alias(name))
    return frame.with_columns(changed)


def _check_lengths(
    frame: pl.DataFrame, name: str, lengths: pl.Series, where: str
) -> None:
    own = frame[name].list.len()
    bad = (own != lengths).arg_max() if (own != lengths).any() else None
    if bad is not None:
        raise InputError(
            f"{where}: row {frame[ROW][bad] + 1}, column {name!r}: lists {own[bad]} "
            f"values beside {lengths[bad]} items; give lists of equal length"
        )


def _with_clicks(
    frame: pl.DataFrame, config: DataConfig, where: str
) -> tuple[pl.DataFrame, bool]:
    """Return the table with a list of clicks per item, and whether it has one.

    It has none without a column of clicks, or where that lists the clicked items.
    """
    item, clicked = config.columns.item, config.columns.clicked
    if clicked is None:
        return frame, False
    if config.clicked_values:
        _check_event(frame, config, where)
        return frame, False
    if clicked == item:
        return _labels(frame, item, where), True
    if clicked not in frame.columns:
        raise InputError(
            f"{where}: has no column {clicked!r} (data.columns.clicked={clicked}); "
            f"its columns are: {', '.join(frame.columns[1:])}"
        )
    lists = frame.select(ROW, item, clicked)
    if not _is_list(lists, clicked, config):
        lists = lists.with_columns(pl.concat_list(clicked))
    lists = _as_lists(lists, [clicked], config)
    lists = lists.with_columns(pl.col(clicked).list.drop_nulls())
    words = lists[clicked].explode().drop_nulls().cast(pl.String)
    lengths = lists[clicked].list.len()
    flags = words.str.to_lowercase().is_in(["0", "1", "true", "false"]).all()
    named = lists[item].explode().cast(pl.String).unique().implode()
    if not flags or ((lengths <= 1).all() and words.is_in(named).all()):
        return frame.with_columns(lists[clicked]), False
    _check_lengths(lists, clicked, frame[item].list.len(), where)
    text = pl.element().cast(pl.String).str.to_lowercase()
    flag = pl.col(clicked).list.eval(text.is_in(["1", "true"]))
    return frame.with_columns(lists.select(flag.alias(CLICKED))[CLICKED]), True


def _labels(frame: pl.DataFrame, item: str, where: str) -> pl.DataFrame:
    """Return the table with the label -0 or -1 of each item in a list of its own."""
    each = frame.select(ROW, pl.col(item)).explode(item)
    words = each[item].cast(pl.String)
    bad = ~words.str.contains(r"^.+-[01]$").fill_null(False)
    problem = "has no label; end each item with -1 for a click, else with -0"
    fail_at(bad, words, f"{where}, one row per listed item", item, problem)
    return frame.with_columns(
        pl.col(item).list.eval(pl.element().str.head(-2)).alias(item),
        pl.col(item).list.eval(pl.element().str.ends_with("1")).alias(CLICKED),
    )


def _clicked_of_shown(
    rows: pl.DataFrame, frame: pl.DataFrame, config: DataConfig, where: str
) -> pl.DataFrame:
    """Return the rows with a mark at those items that their row lists as clicked."""
    item, clicked = config.columns.item, config.columns.clicked or ""
    marks = frame.select(ROW, pl.col(clicked).alias(item)).explode(item)
    marks = marks.drop_nulls().unique(maintain_order=True)
    if marks.schema[item] != rows.schema[item]:
        text = pl.col(item).cast(pl.String)
        marks, rows = marks.with_columns(text), rows.with_columns(text)
    strange = marks.join(rows, on=[ROW, item], how="anti", maintain_order="left")
    if len(strange):
        row, name = strange.row(0)
        raise InputError(
            f"{where}: row {row + 1}, column {clicked!r}: {name!r} is not among the "
            f"items of its row in column {item!r}; list every item that was shown, or "
            "give a list of 0 and 1 as long as that of the items"
        )
    marks = marks.with_columns(pl.lit(True).alias(CLICKED))
    joined = rows.join(marks, on=[ROW, item], how="left", maintain_order="left")
    return joined.with_columns(pl.col(CLICKED).fill_null(False))
