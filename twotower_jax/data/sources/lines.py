"""Lines and fields of text files; an error names the file, the row and the remedy."""

import os
import shlex
from pathlib import Path

import polars as pl

from twotower_jax.errors import InputError


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
