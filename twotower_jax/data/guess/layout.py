"""Layout of a file: its separators and its header, and its first rows."""

import csv
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import polars as pl

from twotower_jax.data.guess.names import ROLES, role_score
from twotower_jax.data.sources.files import check_text, need_tables, read_table
from twotower_jax.data.sources.layout import (
    BINARY,
    JSON,
    SEPARATORS,
    TEXT,
    Layout,
    ending,
)
from twotower_jax.errors import InputError

SAMPLE = 100_000  # rows of the sample
LINES = 1_000  # lines from which separator and header are guessed
NEEDS = (
    "a log needs a column of users and one of items, and a table of --items or --users "
    "ids and features"
)
NUMBER = re.compile(r"\s*[-+]?\d+(\.\d*)?([eE][-+]?\d+)?\s*")


class Sample(NamedTuple):
    """The first rows of a table, and its layout."""

    frame: pl.DataFrame
    layout: Layout
    path: Path


def read_sample(
    path: Path, layout: Layout | None = None, rows: int | None = SAMPLE
) -> Sample:
    """First rows of a table, and its layout."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the file that holds the log")
    if not path.exists():
        raise InputError(f"{path}: does not exist; give an existing file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; give a file with rows")
    if layout is None:
        typed = ending(path) in (*JSON, *BINARY)
        layout = Layout() if typed else guess_layout(_lines(path), path)
    frame = read_table(path, layout, rows=rows)
    if frame.width < 2:
        raise InputError(
            f"{path}: has one column only, {frame.columns[0]!r}; {NEEDS}. Check the "
            f"separator of its fields (data.separator={', '.join(SEPARATORS)})"
        )
    return Sample(frame if rows is None else frame.head(rows), layout, path)


def read_log_sample(path: Path, layout: Layout | None = None) -> Sample:
    """First rows of the log in a file, or in the tables of a folder."""
    if not path.is_dir():
        return read_sample(path, layout)
    files = need_tables(path, "data.path")
    frame, layout, _ = read_sample(files[0], layout)
    for file in files[1:]:
        if len(frame) >= SAMPLE:
            break
        more = read_sample(file, layout, SAMPLE - len(frame)).frame
        try:
            frame = pl.concat([frame, more], how="diagonal_relaxed")
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"{file}: a column has another type than in the tables before it: "
                f"{error}; write it with one type in all of them"
            ) from None
    return Sample(frame, layout, path)


def _lines(path: Path) -> list[str]:
    """Return the first lines of a text file, possibly compressed."""
    check_text(path)
    try:
        frame = pl.read_csv(
            path,
            separator="\x1f",
            has_header=False,
            quote_char=None,
            infer_schema=False,
            new_columns=["line"],
            n_rows=LINES,
            glob=False,
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _no_table(path, str(error).split("\n")[0]) from None
    # A carriage return within a line would end it for the reader of its fields.
    texts = frame["line"].str.strip_suffix("\r").str.replace_all("\r", " ")
    lines = texts.drop_nulls().to_list()
    if not lines:
        raise InputError(f"{path}: holds empty lines only; give a file with rows")
    first = lines[0].lstrip().lower()
    if first.startswith(("%pdf", "<")):
        raise _no_table(path, f"it begins with {first[:20]!r}")
    empty = texts.head(50).str.contains("\x00", literal=True)
    if empty.any():
        raise _no_table(path, f"line {int(empty.arg_max() or 0) + 1} has a NUL byte")
    return lines


def _no_table(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: is not a table: {reason}; give UTF-8 text with one row per "
        "interaction (csv, tsv, JSON lines), a parquet or a feather file"
    )


def guess_layout(lines: list[str], path: Path) -> Layout:
    """Separators and header of the lines of a text file.

    Examples:
      >>> guess_layout(["user;item", "1;2"], Path("a.csv"))
      Layout(separator='semicolon', header=True, list_separator=None)
      >>> guess_layout(["0 5 7 9", "1 3", "2 5 8"], Path("a.txt"))
      Layout(separator='space', header=False, list_separator='space')
    """
    if all("::" in line for line in lines):
        raise InputError(
            f"{path}: fields are separated by '::', as in MovieLens 1M and 10M; read "
            "the folder by data=movielens, or replace '::' by a tab"
        )
    if lines[0].startswith("#"):
        raise InputError(
            f"{path}: begins with a comment ({lines[0][:40]!r}); remove the lines that "
            "begin with #: grep -v '^#' FILE > NEWFILE"
        )
    default = TEXT.get(ending(path))
    try:
        name = _separator(lines, default)
    except csv.Error:
        raise InputError(
            f"{path}: a field has more than {csv.field_size_limit():,} characters, so "
            f"the separator is not guessed; set data.separator={default or 'comma'}"
        ) from None
    if name is not None:
        rows = list(csv.reader(lines, delimiter=SEPARATORS[name]))
        return Layout(None if name == default else name, _has_header(rows))
    listed = _user_lines(lines)
    if listed is None:
        raise InputError(
            f"{path}: has one column only; {NEEDS}. The separators that are "
            f"tried: {', '.join(SEPARATORS)}"
        )
    split = (line.split(SEPARATORS[listed]) for line in [*lines[:2], ""][:2])
    first, second = (any(map(NUMBER.fullmatch, cells)) for cells in split)
    return Layout(listed, second and not first, listed)


def _separator(lines: list[str], default: str | None) -> str | None:
    """Return the separator that gives most lines one same width of 2 or more.

    A blank also separates the words of titles, so it is taken where no other fits.
    """
    fits: dict[str, tuple[float, int]] = {}
    starts: dict[str, bool] = {}
    for name, mark in SEPARATORS.items():
        widths = [len(row) for row in csv.reader(lines, delimiter=mark)]
        width, count = Counter(widths).most_common(1)[0]
        if width >= 2 and count > 0.5 * len(lines):
            fits[name] = (count / len(lines), width)
            starts[name] = widths[0] == width
    # A decimal comma divides the rows of numbers, and not the names above them.
    fits = {name: fit for name, fit in fits.items() if starts[name]} or fits
    fits = {name: fit for name, fit in fits.items() if name != "space"} or fits
    best = max(fits, key=lambda name: fits[name], default=None)
    if best and default in fits and fits[default][0] > fits[best][0] - 0.02:
        return default
    return best


def _user_lines(lines: list[str]) -> str | None:
    """Return the separator of lines ``user item item ...``, if they are such lines."""
    for name in ("space", "tab", "comma"):
        words = [line.split(SEPARATORS[name]) for line in lines]
        lists = sum(len(row) > 1 for row in words)
        if lists > 0.5 * len(lines) and len({row[0] for row in words}) == len(lines):
            return name
    return None


def _has_header(rows: list[list[str]]) -> bool:
    """Return whether the first row names the columns."""
    first, rest = rows[0], rows[1:]
    if any(NUMBER.fullmatch(cell) or not cell.strip() for cell in first):
        return False
    if any(role_score(cell, role) for cell in first for role in ROLES):
        return True
    # A value of the first row that comes again is a value.
    columns = zip(*(row for row in rest if len(row) == len(first)), strict=True)
    return not any(cell in values for cell, values in zip(first, columns, strict=False))
