"""Guess about a whole log: its file, its columns and its tables of features."""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from twotower_jax.data.guess.columns import guess_roles
from twotower_jax.data.guess.layout import (
    Sample,
    known_source,
    read_log_sample,
    read_sample,
)
from twotower_jax.data.guess.profile import Column, Roles
from twotower_jax.data.guess.side import guess_side
from twotower_jax.data.sources.layout import Layout
from twotower_jax.errors import InputError

ROLES = ("user", "item", "time", "clicked", "rating", "stage", "request", "rank")
DEFAULT = ("user", "item")  # roles whose column has a name by default
FEATURES = {"item": "candidate_features", "user": "query_features"}


class Guess(NamedTuple):
    """The source, keys and columns of a log, as understood.

    Attributes:
      source: value of ``data`` that reads it.
      keys: {key below ``data``: value} of the configuration that reads it.
      columns: {role: column}; {} where the source knows them.
      notes: remarks, one sentence each.
      unused: columns of the log without a role.
    """

    source: str
    keys: dict[str, Any]
    columns: dict[str, Column]
    notes: list[str]
    unused: tuple[str, ...] = ()


def guess_log(
    path: Path,
    sides: dict[str, Path],
    given: dict[str, str],
    layout: Layout | None = None,
) -> Guess:
    """Guess about a log."""
    known = None if given or layout else known_source(path)
    if known is not None and (not sides or known[0] == "recbole"):
        return _whole_set(path, *known, sides)
    sample = read_log_sample(path, layout)
    columns: dict[str, Column] = {}
    if sample.layout.separator and sample.layout.list_separator:
        user, item = sample.frame.columns
        columns["user"] = Column(user, "the first word of each line")
        columns["item"] = Column(item, "the other words of each line")
    columns |= {role: Column(name, "as given") for role, name in given.items()}
    roles = guess_roles(sample.frame, columns, str(path))
    keys = {"path": str(path)} | _layout_keys(sample.layout) | roles.keys
    keys |= _column_keys(roles)
    for side, file in sides.items():
        keys |= _side_keys(sample, side, file, roles)
    used = {column.name for column in roles.columns.values()}
    others = tuple(name for name in sample.frame.columns if name not in used)
    return Guess("table", keys, roles.columns, roles.notes, others)


def _whole_set(path: Path, source: str, folder: Path, sides: dict[str, Path]) -> Guess:
    """Return the guess about a public data set, which its own source reads."""
    if sides:
        options = " and ".join(f"--{side}s" for side in sides)
        raise InputError(
            f"{path}: data={source} reads this file with its .item and .user files; "
            f"leave {options} out"
        )
    notes = [f"{path}: belongs to a data set that data={source} reads as a whole"]
    for file in sorted(folder.glob("*.inter")):
        with file.open(encoding="utf-8", errors="replace") as lines:
            if "rating:float" in lines.readline().split():
                notes.append(
                    f"{file}: every row counts as a positive; its ratings are read "
                    "with data.min_rating, such as 4 of 5"
                )
    return Guess(source, {"path": str(folder)}, {}, notes)


def _layout_keys(layout: Layout) -> dict[str, Any]:
    """Return the keys of a layout that differ from their defaults."""
    default = Layout()
    pairs = zip(Layout._fields, layout, default, strict=True)
    return {name: value for name, value, usual in pairs if value != usual}


def _column_keys(roles: Roles) -> dict[str, Any]:
    """Return the keys of the columns that do not have the name by default."""
    named = {role: roles.columns[role].name for role in ROLES if role in roles.columns}
    return {
        f"columns.{role}": name
        for role, name in named.items()
        if name != role or role not in DEFAULT
    }


def _side_keys(log: Sample, side: str, path: Path, roles: Roles) -> dict[str, Any]:
    """Return the keys of a table of features."""
    table = read_sample(path, rows=None)
    if not table.layout.header:
        raise InputError(f"{path}: has no names of columns in its first line; add them")
    if table.layout.separator not in (None, log.layout.separator):
        raise InputError(
            f"{path}: its fields are separated by {table.layout.separator}; write it "
            "with the separator of its ending, or with that of the log"
        )
    column = roles.columns[side].name
    ids = log.frame[column]
    if isinstance(ids.dtype, pl.List):
        ids = ids.explode()
    guess = guess_side(table, side, ids, column)
    roles.notes.extend(guess.notes(str(path)))
    if not guess.kinds:
        raise InputError(
            f"{path}: no column beside the ids in {guess.key!r} is a feature: "
            f"{guess.summary()}; add one, or leave out --{side}s"
        )
    keys: dict[str, Any] = {f"{side}s_path": str(path), FEATURES[side]: guess.kinds}
    if guess.key != column:
        keys[f"{side}s_id"] = guess.key
    return keys
