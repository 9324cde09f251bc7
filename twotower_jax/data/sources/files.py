"""Files and tables; an error names the file, the row and the remedy."""

import difflib
from collections.abc import Collection
from pathlib import Path

import polars as pl

from twotower_jax.data.sources.layout import (
    BINARY,
    ENDINGS,
    JSON,
    SEPARATORS,
    TEXT,
    Layout,
    ending,
)
from twotower_jax.data.sources.lines import check_text, read_lines
from twotower_jax.data.sources.text import read_text
from twotower_jax.data.sources.typed import read_typed
from twotower_jax.errors import InputError


def need_file(path: str | Path | None, key: str) -> Path:
    """Path of an existing file."""
    if path is None:
        raise InputError(f"{key} is not set; give the path of a file")
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{key}={str(path)!r} is a folder; give the path of a file")
    if not path.exists():
        raise InputError(f"{key}={str(path)!r} does not exist; give an existing file")
    if not path.is_file():
        raise InputError(
            f"{key}={str(path)!r} is a pipe or a device, which is read once; write it "
            "to a file, and give that"
        )
    return path


def need_tables(path: str | Path | None, key: str) -> list[Path]:
    """Paths of a table: a file, or the files of a folder in order of name."""
    if path is None or not Path(path).is_dir():
        return [need_file(path, key)]
    found = sorted(
        one for one in Path(path).iterdir() if one.is_file() and ending(one) in ENDINGS
    )
    kinds = sorted({ending(one) for one in found})
    if not kinds:
        raise InputError(
            f"{key}={str(path)!r} is a folder without a table; give the path of a file "
            f"or of a folder with files that end with one of: {', '.join(ENDINGS)}"
        )
    if len(kinds) > 1:
        raise InputError(
            f"{key}={str(path)!r} is a folder with tables of several formats: "
            f"{', '.join(kinds)}; keep those of one log alone in it"
        )
    return found


def need_folder(path: str | Path | None, key: str, hint: str) -> Path:
    """Path of an existing folder."""
    if path is None:
        raise InputError(f"{key} is not set; give the folder with {hint}")
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{key}={str(path)!r} does not exist; give the folder with {hint}"
        )
    if not path.is_dir():
        raise InputError(f"{key}={str(path)!r} is a file; give the folder with {hint}")
    return path


def need_in_folder(folder: Path, name: str, hint: str) -> Path:
    """Path of a file in the folder ``data.path``."""
    if not (folder / name).is_file():
        raise InputError(
            f"data.path={str(folder)!r} holds no file {name!r}; give the folder with "
            f"{hint}"
        )
    return folder / name


def need_columns(frame: pl.DataFrame, names: dict[str, str], where: str) -> None:
    """Check that a table has columns.

    Examples:
      >>> frame = pl.DataFrame({"user_id": [1]})
      >>> need_columns(frame, {"data.columns.user": "userid"}, "a.csv")
      Traceback (most recent call last):
        ...
      InputError: a.csv: has no column 'userid' (data.columns.user=userid); ...
    """
    for key, name in names.items():
        if name in frame.columns:
            continue
        close = difflib.get_close_matches(name, frame.columns, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        columns = ", ".join(frame.columns)
        remedy = guess or f"; set {key} to one of them"
        if frame.width == 1:
            remedy = "; give a table with more columns, or its data.separator"
        raise InputError(
            f"{where}: has no column {name!r} ({key}={name}); its columns are: "
            f"{columns}{remedy}"
        )


def _read_user_lines(path: Path, layout: Layout) -> pl.DataFrame:
    """Return lines ``user item item ...`` as columns of the user and of its items."""
    separator = SEPARATORS[layout.separator or ""]
    lines = read_lines(path).drop_nulls().str.strip_chars_end(f"{separator}\r")
    parts = lines.str.splitn(separator, 2).struct.rename_fields(["one", "two"])
    frame = parts.struct.unnest()
    if not layout.header:
        return frame.rename({"one": "column_0", "two": "column_1"})
    names = frame.row(0) if len(frame) else ("", "")
    return frame.slice(1).rename(dict(zip(frame.columns, map(str, names), strict=True)))


def check_readable(path: Path, kind: str, separator: str | None) -> None:
    """Check that a file has content, and an ending or a separator to read it by."""
    if separator is None and kind not in ENDINGS:
        raise InputError(
            f"{path}: files that end with {kind!r} are not supported; "
            f"give one of: {', '.join(ENDINGS)}, or data.separator for a text table"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; give a file with rows")
    if kind not in BINARY:
        check_text(path)


def read_table(
    path: Path,
    layout: Layout | None = None,
    *,
    keep: Collection[str] | None = None,
    rows: int | None = None,
) -> pl.DataFrame:
    """Table of a csv, tsv, jsonl, parquet or feather file, by the ending of its name.

    Columns of text files are text; those of the other files keep their types.
    """
    layout, kind = layout or Layout(), ending(path)
    separator = layout.separator or TEXT.get(kind)
    check_readable(path, kind, separator)
    if kind in (*JSON, *BINARY):
        frame = read_typed(path, kind, keep, rows)
    elif layout.separator and layout.separator == layout.list_separator:
        frame = _read_user_lines(path, layout)
    else:
        mark = SEPARATORS[separator or ""]
        frame = read_text(path, mark, header=layout.header, rows=rows)
    if len(frame) == 0:
        raise InputError(f"{path}: has a header and no rows; give at least one row")
    if keep and set(keep) <= set(frame.columns):
        frame = frame.select(name for name in frame.columns if name in keep)
    return frame
