"""Files and their columns: what is missing or broken is named, with the remedy."""

import csv
import difflib
from collections.abc import Iterable
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
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(
                f"{path}: is no {ending[1:]} file: {_first_line(error)}; "
                "write it again, or give it the ending of its format"
            ) from None
    if len(frame) == 0:
        raise InputError(f"{path}: has a header and no rows; give at least one row")
    return frame


def decode_lines(path: Path, encoding: str = "utf-8") -> Iterable[str]:
    """Return the lines of a text file.

    Raises:
      InputError: an empty file, or bytes that are not in the encoding.
    """
    try:
        lines = path.read_text(encoding=encoding).splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not {encoding} text ({error.reason} at byte {error.start}); "
            "convert it"
        ) from None
    if not lines:
        raise InputError(f"{path}: is empty; give a file with rows")
    return lines
