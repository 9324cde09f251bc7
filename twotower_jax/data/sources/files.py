"""Files and tables; an error names the file, the row and the remedy."""

import csv
import difflib
import gzip
import os
import shlex
from collections.abc import Collection
from contextlib import suppress
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
from twotower_jax.data.sources.typed import read_typed
from twotower_jax.errors import InputError


def _ragged_row(path: Path, separator: str) -> str:
    """Return a description of the first row with too many fields, or ""."""
    unpack = gzip.open if path.suffix.lower() == ".gz" else open
    with unpack(path, "rt", newline="", encoding="utf-8", errors="replace") as lines:
        reader = csv.reader(lines, delimiter=separator)
        with suppress(csv.Error):  # such as a very long field
            width = len(next(reader, []))
            for row, fields in enumerate(reader, start=1):
                if len(fields) > width:
                    return (
                        f"row {row} has {len(fields)} fields where the header has "
                        f"{width}; remove the surplus, or put values with separators "
                        "into quotes"
                    )
    return ""


def read_text(
    path: Path, separator: str, *, header: bool = True, rows: int | None = None
) -> pl.DataFrame:
    """Text table with every column as text; an empty field is null."""
    try:
        frame = pl.read_csv(
            path,
            separator=separator,
            has_header=header,
            infer_schema=False,
            n_rows=rows,
            glob=False,
        )
        if header:
            check_names(frame.columns, path)
            return frame
        # Configurations name these columns, so the names are not left to polars.
        names = {name: f"column_{i}" for i, name in enumerate(frame.columns)}
        return frame.rename(names)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise refused_text(path, separator, error) from None


def refused_text(path: Path, separator: str, error: Exception) -> InputError:
    """Return why a text table cannot be read, and the remedy."""
    if isinstance(error, pl.exceptions.NoDataError):
        return InputError(f"{path}: is empty; give a file with rows")
    reason = _ragged_row(path, separator) or str(error).strip().split("\n")[0]
    return InputError(
        f"{path}: cannot be read: {reason}; it must be UTF-8 text with one header"
    )


def check_names(names: list[str], path: Path) -> None:
    """Refuse a name that two columns have: polars renames the second."""
    for name in names:
        first, mark, _ = name.rpartition("_duplicated_")
        if mark and first in names:
            raise InputError(f"{path}: two columns are named {first!r}; rename one")


def need_whole(path: Path) -> None:
    """Check that a text file ends with a line feed, as all published formats do.

    A file that was cut off inside a number would otherwise be read as another number.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return  # the reader reports an empty file
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
    raise InputError(
        f"{path}: its last line has no end, as if the file were cut off; download it "
        "again, or, if it is whole, end it with a line break"
    )


def decode_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Lines of a text file; only a line feed ends a line."""
    try:
        text = path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not {encoding} text ({error.reason} at byte {error.start}); "
            "convert it"
        ) from None
    if not text:
        raise InputError(f"{path}: is empty; give a file with rows")
    # str.splitlines also splits at characters that titles and abstracts contain.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


# First bytes of files that are no UTF-8 text, and what they are.
MARKS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": ".gz",
    b"\x28\xb5\x2f\xfd": ".zst",
}


START = 1 << 16  # bytes from which the end of a line is seen


def check_text(path: Path) -> None:
    """Refuse other encodings than UTF-8, zip archives and CR line ends.

    Text that is compressed by gzip or zstd passes if the name ends with .gz or .zst.
    """
    with path.open("rb") as file:
        start = file.read(START)
    kind = next((kind for mark, kind in MARKS.items() if start.startswith(mark)), "")
    if kind == "UTF-16":
        raise InputError(f"{path}: is UTF-16 text; {_convert('UTF-16', path)}")
    if start.startswith(b"PK\x03\x04"):
        raise InputError(
            f"{path}: is a zip archive, as the files of spreadsheets are; unpack it, "
            "or write the sheet as csv"
        )
    if kind and path.suffix.lower() not in (".gz", ".zst"):
        raise InputError(
            f"{path}: is compressed, and its name ends with {path.suffix!r}; rename it "
            f"to {path.name}{kind}, or unpack it"
        )
    start = _unpacked(path) if kind else start
    _check_utf8(start, path)
    if b"\r" in start.removesuffix(b"\r") and b"\n" not in start:
        raise InputError(
            f"{path}: its lines end with a carriage return alone; write it with line "
            f"feeds: {'unpack it, then ' if kind else ''}tr '\\r' '\\n' < "
            f"{shlex.quote(str(path.with_suffix('') if kind else path))} > NEWFILE"
        )


def _check_utf8(start: bytes, path: Path) -> None:
    """Refuse text of another encoding; the last character may be cut."""
    if b"\x00" in start:
        return  # no text in any encoding; the reader refuses it
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:
            raise InputError(
                f"{path}: is not UTF-8 text (byte {error.start + 1} is "
                f"0x{start[error.start]:02x}); {_convert('WINDOWS-1252', path)}, if it "
                "is Western European"
            ) from None


def _convert(encoding: str, path: Path) -> str:
    """Return the command that converts a file to UTF-8."""
    file = shlex.quote(str(path))
    return f"convert it: iconv -f {encoding} -t UTF-8 {file} > NEWFILE"


def _unpacked(path: Path) -> bytes:
    """Return the first bytes of the text in a compressed file, b"" if it is broken."""
    import pyarrow as pa  # here, for most files are not compressed

    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            return stream.read(START)
    except (OSError, pa.ArrowException):
        return b""  # the reader names the fault


def read_lines(path: Path, encoding: str = "utf-8") -> pl.Series:
    """Lines of a text file as a column; an empty line is null."""
    try:
        # The file is opened here, because polars expands wild cards in a path.
        with path.open("rb") as file:
            data = file if encoding == "utf-8" else file.read().decode(encoding)
            frame = pl.read_csv(
                data.encode() if isinstance(data, str) else data,
                separator="\x1f",
                has_header=False,
                quote_char=None,
                infer_schema=False,
                new_columns=["line"],
            )
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError):
        decode_lines(path, encoding)
        raise InputError(
            f"{path}: holds the control character 0x1f, so it is not text; give "
            "the file unpacked and unchanged"
        ) from None
    return frame["line"]


def read_fields(
    path: Path,
    separator: str,
    width: int | None = None,
    *,
    encoding: str = "utf-8",
    header: bool = False,
) -> pl.DataFrame:
    """Table of text from lines of fields without quoting, all of one width."""
    lines = read_lines(path, encoding)
    first = (lines[0] or "").split(separator)
    names = first if header else [f"column_{i}" for i in range(width or len(first))]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"{path}: its header names {twice!r} twice; give each column another name"
        )
    lines = lines.slice(1) if header else lines
    if not len(lines):
        raise InputError(f"{path}: has a header and no rows; give at least one row")
    fields = _same_width(
        lines.fill_null("").str.split(separator), names, separator, path
    )
    need_whole(path)
    return fields.list.to_struct(fields=names).struct.unnest()


def _same_width(
    fields: pl.Series, names: list[str], separator: str, path: Path
) -> pl.Series:
    """Return lists of fields, all as long as the names."""
    counts = fields.list.len()
    bad = counts != len(names)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise InputError(
            f"{path}: row {row + 1} has {counts[row]} fields separated by "
            f"{separator!r} instead of {len(names)}; repair or remove the row"
        )
    return fields


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
