"""Tables of items or users: the column of ids, and the kinds of the features."""

import re
from typing import NamedTuple

import polars as pl

from twotower_jax.data.guess.layout import Sample
from twotower_jax.data.guess.profile import Profile, is_id, profile, role_score
from twotower_jax.data.parse import is_list, mean_vectors
from twotower_jax.errors import InputError

# Names that towers.query and towers.candidate keep for themselves.
RESERVED = {"id", "history"}
MOST_NAMES = 2  # of columns that a message lists per reason
CATEGORIES = 20  # most distinct whole numbers of a category


class SideGuess(NamedTuple):
    """The column of ids of a table, and its features.

    Attributes:
      key: name of the column of ids.
      kinds: {column: kind} of the features.
      unused: {reason: columns that are no feature}.
    """

    key: str
    kinds: dict[str, str]
    unused: dict[str, list[str]]

    def notes(self, where: str) -> list[str]:
        """Return remarks about unused columns, one sentence each."""
        return [
            f"{where}: column {name!r} is left out: {reason}"
            for reason, names in self.unused.items()
            for name in names
        ]

    def summary(self) -> str:
        """Return the unused columns in one line: at most two names per reason.

        Examples:
          >>> unused = {"times": ["a"], "own texts": ["b", "c", "d", "e", "f"]}
          >>> SideGuess("item", {}, unused).summary()
          'a (times); b, c and 3 more (own texts)'
        """
        return "; ".join(
            f"{', '.join(names[:MOST_NAMES])}{_more(names)} ({reason})"
            for reason, names in self.unused.items()
        )


def guess_side(table: Sample, side: str, ids: pl.Series, column: str) -> SideGuess:
    """Ids and features of a table of items or users.

    Returns:
      The column that holds most of the ids, and a kind for each other column: lists
      and texts with bars are vector where they hold fractions, else multi; whole
      numbers of 20 values or fewer, repeated ids (by their name) and repeated texts are
      categorical, other numbers numeric.
    """
    frame, where = table.frame, str(table.path)
    profiles = [profile(frame[name]) for name in frame.columns]
    key = _key(profiles, side, ids, where, column)
    kinds: dict[str, str] = {}
    unused: dict[str, list[str]] = {}
    for one in profiles:
        if one.name == key:
            continue
        kind = feature_kind(one, len(frame))
        reason = unfit_name(one.name) or (_reason(one) if kind is None else "")
        if reason:
            unused.setdefault(reason, []).append(one.name)
        elif kind is not None:
            kinds[one.name] = kind
    return SideGuess(key, kinds, unused)


def _more(names: list[str]) -> str:
    """Return how many names are not among the first."""
    more = len(names) - MOST_NAMES
    return f" and {more} more" if more > 0 else ""


def unfit_name(name: str) -> str:
    """Return why a column of this name cannot be a feature, "" where it can."""
    if name in RESERVED:
        return "the name is that of an input of every tower; rename it"
    return "" if re.fullmatch(r"\w+", name) else "rename it: letters, digits and _ only"


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


def feature_kind(one: Profile, rows: int) -> str | None:
    """Return the kind of a feature; None for a column that describes nothing."""
    if one.kind in ("empty", "moment", "comma") or one.distinct < 2:
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
    if one.kind == "comma":
        return one.decimal_comma()
    return f"nearly every row has its own {'text' if one.kind == 'text' else 'id'}"
