"""Files and tables; an error names the file, the row and the remedy."""

import csv
import difflib
from pathlib import Path

import polars as pl

from twotower_jax.errors import InputError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*SEPARATORS, ".parquet", ".feather", ".arrow", ".ipc")


def need_file(path: str | Path | None, key: str) -> Path:
    """Path of an existing file.

    Args:
      path: the value of the key.
      key: the key, such as ``data.path``, for the message.

    Returns:
      The path.

    Raises:
      InputError: the path is not set, does not exist, or is a folder.
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
    """Path of an existing folder.

    Args:
      path: the value of the key.
      key: the key, such as ``data.path``, for the message.
      hint: the files of the folder, for the message.

    Returns:
      The path.

    Raises:
      InputError: the path is not set, does not exist, or is a file.
    """
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
    """Path of a file in the folder ``data.path``.

    Args:
      folder: the folder.
      name: name of the file.
      hint: the files of the folder, for the message.

    Returns:
      The path.

    Raises:
      InputError: the folder does not hold the file.
    """
    if not (folder / name).is_file():
        raise InputError(
            f"data.path={str(folder)!r} holds no file {name!r}; give the folder with "
            f"{hint}"
        )
    return folder / name


def need_columns(frame: pl.DataFrame, names: dict[str, str], where: str) -> None:
    """Check that a table has columns.

    Args:
      frame: the table.
      names: {key of the configuration: name of the column}.
      where: name of the file, for the message.

    Raises:
      InputError: a column is missing; the message names the key and the nearest name.

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
        raise InputError(
            f"{where}: has no column {name!r} ({key}={name}); its columns are: "
            f"{columns}{guess or f'; set {key} to one of them'}"
        )


def _ragged_row(path: Path, separator: str) -> str:
    """Return a description of the first row with too many fields, or ""."""
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
    """Text table with every column as text; an empty field is null.

    Args:
      path: the file, UTF-8 with one header line.
      separator: one character between two fields.

    Returns:
      The table.

    Raises:
      InputError: an empty file, a row with too many fields, or another encoding.
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
    """Table of a csv, tsv, parquet or feather file, by the ending of its name.

    Columns of text files are text; those of the other files keep their types.

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
        # Polars panics at some damaged files; a panic is not an Exception.
        except (
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
            OSError,
        ) as error:
            raise InputError(
                f"{path}: is not a {ending[1:]} file: {_first_line(error)}; "
                "write it again, or give it the ending of its format"
            ) from None
    if len(frame) == 0:
        raise InputError(f"{path}: has a header and no rows; give at least one row")
    return frame
