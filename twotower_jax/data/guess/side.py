"""Tables of items or users: the column of ids, and the kinds of the features."""

import re
from typing import NamedTuple

import polars as pl

from twotower_jax.data.guess.layout import Sample
from twotower_jax.data.guess.names import is_id, role_score
from twotower_jax.data.guess.profile import Profile, profile
from twotower_jax.data.vectors import is_list, mean_vectors
from twotower_jax.errors import InputError

# Names that towers.query and towers.candidate keep for themselves.
RESERVED = {"id", "history"}
CATEGORIES = 20  # most distinct whole numbers of a category


class SideGuess(NamedTuple):
    """The column of ids of a table, and its features.

    Attributes:
      key: name of the column of ids.
      kinds: {column: kind} of the features.
      notes: remarks about columns that are not used, one sentence each.
    """

    key: str
    kinds: dict[str, str]
    notes: list[str]


def guess_side(table: Sample, side: str, ids: pl.Series, column: str) -> SideGuess:
    """Ids and features of a table of items or users.

    Args:
      table: its first rows.
      side: "item" or "user".
      ids: ids of the log's sample.
      column: the column of the log that holds them, for messages.

    Returns:
      The column that holds most of the ids, and a kind for each other column: lists
      and texts with bars are vector where they hold fractions, else multi; whole
      numbers of 20 values or fewer, repeated ids (by their name) and repeated texts are
      categorical, other numbers numeric.

    Raises:
      InputError: no column holds ids of the log.
    """
    frame, where = table.frame, str(table.path)
    profiles = [profile(frame[name]) for name in frame.columns]
    key = _key(profiles, side, ids, where, column)
    kinds, notes = {}, []
    for one in profiles:
        if one.name == key:
            continue
        kind = _kind(one, len(frame))
        if not re.fullmatch(r"\w+", one.name) or one.name in RESERVED:
            notes.append(
                f"{where}: column {one.name!r} is left out for its name; features have "
                "letters, digits and _, and are not named id or history"
            )
        elif kind is None:
            notes.append(f"{where}: column {one.name!r} is left out: {_reason(one)}")
        else:
            kinds[one.name] = kind
    return SideGuess(key, kinds, notes)


def _key(
    profiles: list[Profile], side: str, ids: pl.Series, where: str, column: str
) -> str:
    """Return the column with most ids of the log; of equals the best named one."""
    wanted = ids.drop_nulls().cast(pl.String).unique()
    best = ("", (0, 0))
    for one in profiles:
        if one.kind not in ("whole", "text"):
            continue
        held = int(wanted.is_in(one.values.cast(pl.String).unique().implode()).sum())
        # A column of numbers such as a year may hold some ids by chance.
        unique = one.distinct == len(one.values)
        score = (held * (2 if unique else 1), role_score(one.name, side))
        if held and score > best[1]:
            best = (one.name, score)
    if best[1][0]:
        return best[0]
    shown = ", ".join(f"{one.name} (such as {one.first()!r})" for one in profiles)
    raise InputError(
        f"{where}: no column holds the {side}s of the log's column {column!r} (such as "
        f"{wanted[0]!r}); its columns are: {shown}. Give the table of these {side}s, "
        f"or write the ids alike in both files"
    )


def _kind(one: Profile, rows: int) -> str | None:
    """Return the kind of a feature; None for a column that describes nothing."""
    if one.kind in ("empty", "moment") or one.distinct < 2:
        return None
    if is_list(one.values) or one.kind == "list" or _has_bars(one):
        return "vector" if mean_vectors(one.values.head(1_000)) else "multi"
    if one.kind == "other":
        return None
    if one.kind == "bool":
        return "categorical"
    numeric = one.kind in ("whole", "number")
    if numeric and not (one.kind == "whole" and is_id(one.name)):
        few = one.kind == "whole" and one.distinct <= CATEGORIES
        return "categorical" if few else "numeric"
    return "categorical" if one.distinct <= 0.5 * rows else None


def _has_bars(one: Profile) -> bool:
    if one.kind != "text":
        return False
    return bool(one.values.str.contains("|", literal=True).to_numpy().mean() > 0.1)


def _reason(one: Profile) -> str:
    if one.kind == "moment":
        return "times are not a feature"
    if one.kind == "other":
        return "records are not a feature"
    if one.distinct < 2:
        return "it has one value"
    return f"nearly every row has its own {'text' if one.kind == 'text' else 'id'}"
