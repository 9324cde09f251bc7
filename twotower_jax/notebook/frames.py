"""Frames of polars, pandas and other libraries as files of logs."""

import hashlib
from pathlib import Path
from typing import Any

import polars as pl

from twotower_jax.data.drafts import new_draft, put_in_place, writing
from twotower_jax.errors import InputError

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
