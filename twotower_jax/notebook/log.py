"""A log in Python: read once, understood as ``twotower data check`` does."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from twotower_jax.config import Config
from twotower_jax.data.drafts import new_draft, put_in_place, writing
from twotower_jax.errors import InputError
from twotower_jax.registry import TURN
from twotower_jax.sweeps.overrides import override

if TYPE_CHECKING:
    from twotower_jax.report.log_check import Checked


FOLDER = "logs"  # below the folder of all runs
DIGITS = 16  # of the SHA-256 that names a file


def is_frame(source: Any) -> bool:
    """Whether an object is a table that can be exchanged."""
    protocols = ("__arrow_c_stream__", "__dataframe__")
    own = isinstance(source, pl.DataFrame | pl.LazyFrame)
    return own or any(hasattr(source, name) for name in protocols)


def to_polars(frame: Any) -> pl.DataFrame:
    """Frame of another library as one of polars, categories as texts."""
    try:
        if isinstance(frame, pl.LazyFrame):
            made = frame.collect()
        elif isinstance(frame, pl.DataFrame):
            made = frame
        elif hasattr(frame, "__arrow_c_stream__"):
            made = pl.DataFrame(frame)
        else:
            made = pl.from_dataframe(frame)
    # Each library has errors of its own; polars panics at some types.
    except (Exception, pl.exceptions.PanicException) as error:
        raise _unreadable(frame, error) from None
    categories = [
        name
        for name, kind in made.schema.items()
        if isinstance(kind, pl.Categorical | pl.Enum)
    ]
    return made.with_columns(pl.col(categories).cast(pl.String))


def _unreadable(frame: Any, error: BaseException) -> InputError:
    kind = f"{type(frame).__module__}.{type(frame).__name__}"
    reason = str(error).strip().split("\n")[0]
    return InputError(
        f"the frame ({kind}) cannot be read: {reason}; give each column one type, with "
        "texts or numbers as ids"
    )


def write_frame(frame: Any, output: Path) -> Path:
    """Write a frame as parquet under the hash of its content.

    A file that has this name takes the content of the frame again, whatever it holds.
    """
    table = to_polars(frame)
    if table.is_empty():
        raise InputError("the frame has no rows; give a log with rows")
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    draft = new_draft(folder / "frame")
    try:
        with writing(draft):
            table.rechunk().write_parquet(draft)
        with draft.open("rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
        path = folder / f"frame-{name}.parquet"
        put_in_place(draft, path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _unreadable(frame, error) from None
    finally:
        draft.unlink(missing_ok=True)
    return path


@dataclass(frozen=True, repr=False)
class Log:
    """A log that was read, with the configuration that reads it again.

    Attributes:
      path: of its file; that of a frame is the file that was written.
      overrides: words of ``twotower train`` that read it.
      config: the configuration that they compose, for `twotower_jax.run.run`.
      users, items: numbers of distinct ids.
      rows: number of rows, positives and others.
      positives: number of positives: clicks, purchases, high ratings.
      dates: first and last time with their unit; None without times.
      columns: {role: "name of the column  (why)"}; {} where the source knows them.
      split: method of splitting, and why.
      notes: remarks about the file, one sentence each.
    """

    path: Path
    overrides: tuple[str, ...]
    config: Config
    users: int
    items: int
    rows: int
    positives: int
    dates: str | None
    columns: Mapping[str, str]
    split: str
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the log in folders: the file's, with other characters as ``_``."""
        return re.sub(r"[^\w.-]+", "_", self.path.stem).strip(".") or "log"

    def __repr__(self) -> str:
        head = (
            f"Log of {self.path}: {self.users:,} users, {self.items:,} items, "
            f"{self.positives:,} positives in {self.rows:,} rows"
        )
        lines = dict(self.columns) | {"times": self.dates or "none"}
        lines["split"] = self.split
        width = max(map(len, lines))
        rows = (f"  {name:<{width}}  {text}" for name, text in lines.items())
        return "\n".join([head, *rows, *(f"  * {note}" for note in self.notes)])


def read_log(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    output: str | PathLike[str] = "outputs",
    overrides: Mapping[str, Any] | None = None,
) -> Log:
    """Read a log and guess what is not named, as ``twotower data check`` does.

    Args:
      source: a polars or pandas frame, or any other that exports Arrow, with one row
        per interaction; or the path of a csv, tsv, JSON lines, parquet or feather file.
        A file is read where it is. A frame is written once, as parquet, below `output`,
        so that every run can be repeated from its configuration.
      user, item, time: names of columns; None: guessed.
      output: folder of all runs.
      overrides: further keys of the configuration with their values, such as
        ``{"data.columns.clicked": "click", "data.split": "temporal"}``. The tables
        ``data.items_path`` and ``data.users_path`` are paths or frames, too; what they
        hold of features is guessed.

    Returns:
      The log; its repr lists the guesses.

    Raises:
      InputError: neither a frame nor a path, a file that cannot be a log, a bad value
        in it, or an unknown key.

    Examples:
      >>> log = read_log("clicks.csv", user="who")  # doctest: +SKIP
    """
    check_arguments(output, overrides)
    with TURN:
        path = _file("a log", source, Path(output))
    named = {"user": user, "item": item, "time": time}
    keys = {f"data.columns.{role}": name for role, name in named.items() if name}
    keys |= overrides or {}
    tables = {side: keys.pop(f"data.{side}s_path", None) for side in ("item", "user")}
    sides = {
        side: _file(f"data.{side}s_path", table, Path(output))
        for side, table in tables.items()
        if table is not None
    }
    from twotower_jax.commands.understand import understand

    words = [override(key, value) for key, value in keys.items()]
    checked, words = understand(path, sides, words, [])
    return _log(path, checked, words)


def check_arguments(output: Any, overrides: Any) -> None:
    """Refuse a folder that is no path, and overrides that are not keys with values."""
    if not isinstance(output, str | PathLike):
        raise InputError(f"output={output!r} is no path; give that of a folder")
    if not isinstance(overrides, Mapping | None):
        raise InputError(
            f"overrides={overrides!r} has no keys; give a dictionary such as "
            '{"training.epochs": 5}'
        )


def _file(name: str, source: Any, output: Path) -> Path:
    """Return the path of a table; a frame is written."""
    if isinstance(source, str | PathLike):
        return Path(source)
    if is_frame(source):
        return write_frame(source, output)
    raise InputError(
        f"{name} is a path or a frame of polars or pandas, not a {type(source)}; "
        "give one of them"
    )


def _log(path: Path, checked: "Checked", words: list[str]) -> Log:
    """Return the log that was understood."""
    from twotower_jax.commands.understand import composed
    from twotower_jax.data.guess.log import ROLES
    from twotower_jax.data.health import span
    from twotower_jax.data.summary import describe_log

    counted, log = describe_log(checked.log), checked.log
    guessed = checked.guess.columns
    columns = {
        role: f"{guessed[role].name}  ({guessed[role].why})"
        for role in ROLES
        if role in guessed
    }
    return Log(
        path,
        tuple(words),
        composed(words),
        users=counted["users"],
        items=counted["items"],
        rows=counted["rows"],
        positives=counted["positives"],
        dates=None if log.time is None else span(log.time),
        columns=columns,
        split=f"{checked.config.data.split}  ({checked.why})",
        notes=tuple(checked.guess.notes),
    )
