"""Layout of a table: its ending, its separators, its header."""

from pathlib import Path
from typing import NamedTuple

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "bar": "|", "space": " "}
TEXT = {".csv": "comma", ".tsv": "tab"}
JSON = (".jsonl", ".ndjson", ".json")
BINARY = (".parquet", ".feather", ".arrow", ".ipc")
ENDINGS = (*TEXT, *JSON, *BINARY)
COMPRESSED = (".gz", ".zst")


class Layout(NamedTuple):
    """Layout of a text table.

    Attributes:
      separator: name of the separator of fields; None: by the ending of the file.
      header: whether the first line names the columns.
      list_separator: name of the separator of items within a cell, or None. The same
        as ``separator``: a line is a user and all its items, two columns.
    """

    separator: str | None = None
    header: bool = True
    list_separator: str | None = None


def ending(path: Path) -> str:
    """Ending of a file without that of its compression, in lower case.

    Examples:
      >>> ending(Path("clicks.CSV.gz"))
      '.csv'
    """
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in COMPRESSED else suffix
