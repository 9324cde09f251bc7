"""Files and their columns: what is missing or broken is named, with the remedy."""

import csv
import difflib
import os
from pathlib import Path

import polars as pl

from twotower_jax.errors import InputError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*SEPARATORS, ".parquet", ".feather", ".arrow", ".ipc")


def need_file(path: str | Path | None, key: str) -> Path:
    """Return the path of a file that exists.

    Raises:
      InputError: not set, not there, or a folder.
    """
    if path is None:
        raise InputError(f"{key} is not set; give the path of a file")
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{key}={str(path)!r} is a folder; give the path of a file")
    if not path.exists():
        raise InputError(f"{key}={str(path)!r} does not exist; give an existing file")
    return path


def need_folder(path: str | Path | None, key: str, hint: str) -> Path:
    """Return the path of a folder that exists; ``hint`` says what it must hold."""
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
    """Return the path of a file that the folder ``data.path`` must hold.

    Raises:
      InputError: it does not.
    """
    if not (folder / name).is_file():
        raise InputError(
            f"data.path={str(folder)!r} holds no file {name!r}; give the folder with "
            f"{hint}"
        )
    return folder / name


def need_columns(frame: pl.DataFrame, names: dict[str, str], where: str) -> None:
    """Raise InputError unless the table has the columns; names are by config key."""
    for key, name in names.items():
        if name in frame.columns:
            continue
        close = difflib.get_close_matches(name, frame.columns, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        columns = ", ".join(frame.columns)
        raise InputError(
            f"{where}: has no column {name!r} ({key}={name}); its columns are: "
            f"{columns}{guess or f'; set {key} to one of them'}"
        )


def _ragged_row(path: Path, separator: str) -> str:
    """Say which row of a text table has too many fields, if one has."""
    with path.open(newline="", encoding="utf-8", errors="replace") as lines:
        reader = csv.reader(lines, delimiter=separator)
        width = len(next(reader, []))
        for row, fields in enumerate(reader, start=1):
            if len(fields) > width:
                return (
                    f"row {row} has {len(fields)} fields where the header has {width}; "
                    "remove the surplus, or put values with separators into quotes"
                )
    return ""


def read_text(path: Path, separator: str) -> pl.DataFrame:
    """Read a text table with every column as text (an empty field is null).

    Raises:
      InputError: an empty file, a row with too many fields, or no UTF-8.
    """
    try:
        with path.open("rb") as file:
            return pl.read_csv(file, separator=separator, infer_schema=False)
    except pl.exceptions.NoDataError:
        raise InputError(f"{path}: is empty; give a file with rows") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = _ragged_row(path, separator) or _first_line(error)
        raise InputError(
            f"{path}: cannot be read: {reason}; it must be UTF-8 text with one header"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def read_table(path: Path) -> pl.DataFrame:
    """Read csv, tsv, parquet or feather by the ending of the file's name.

    Text files come with every column as text, the others with their own types.

    Raises:
      InputError: another ending, an empty or broken file, or no rows.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"{path}: files that end with {ending!r} are not supported; "
            f"give one of: {', '.join(ENDINGS)}"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; give a file with rows")
    if ending in SEPARATORS:
        frame = read_text(path, SEPARATORS[ending])
    else:
        read = pl.read_parquet if ending == ".parquet" else pl.read_ipc
        try:
            with path.open("rb") as file:
                frame = read(file)
        # Polars panics at some damaged files, which is no Exception.
        except (
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
            OSError,
        ) as error:
            raise InputError(
                f"{path}: is no {ending[1:]} file: {_first_line(error)}; "
                "write it again, or give it the ending of its format"
            ) from None
    if len(frame) == 0:
        raise InputError(f"{path}: has a header and no rows; give at least one row")
    return frame


def need_whole(path: Path) -> None:
    """Raise InputError where a text file ends within a line: it was cut off.

    For files of published formats, all of which end with a line feed; a number that
    lost its last digits is another number, and could not be told.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return  # that it is empty is said by who reads it
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
    raise InputError(
        f"{path}: its last line has no end, as if the file were cut off; get it anew, "
        "or, if it is whole, end it with a line break"
    )


def decode_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Return the lines of a text file; only a line feed ends one.

    Raises:
      InputError: an empty file, or bytes that are not in the encoding.
    """
    try:
        text = path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not {encoding} text ({error.reason} at byte {error.start}); "
            "convert it"
        ) from None
    if not text:
        raise InputError(f"{path}: is empty; give a file with rows")
    # str.splitlines would also cut at characters that titles and abstracts contain.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def read_lines(path: Path, encoding: str = "utf-8") -> pl.Series:
    """Return the lines of a text file as a column; an empty line is null.

    Raises:
      InputError: an empty file, bytes that are not in the encoding, or a control
        character 0x1f, which no text holds.
    """
    try:
        # The file is opened here, for a path given to polars may hold wild cards.
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
            f"{path}: holds the control character 0x1f, which no text does; give "
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
    """Read lines of fields without any quoting; every line has as many fields.

    Args:
      path: the file.
      separator: what stands between two fields, of any length.
      width: number of fields of a line; None is that of the first line.
      encoding: of the file.
      header: the first line names the columns, else they are column_0, column_1 ...

    Returns:
      A table of text. Rows are counted from 1, the header is none.

    Raises:
      InputError: nothing to read, a row with more or fewer fields, or a file cut off.
    """
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
    fields = lines.fill_null("").str.split(separator)
    counts = fields.list.len()
    bad = counts != len(names)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise InputError(
            f"{path}: row {row + 1} has {counts[row]} fields separated by "
            f"{separator!r} where {len(names)} belong; repair or remove the row"
        )
    need_whole(path)
    return fields.list.to_struct(fields=names).struct.unnest()
