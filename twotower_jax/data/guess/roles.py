"""Roles of columns, what may hold ids, and which column fits a role best."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import polars as pl

from twotower_jax.data.guess.names import QUANTITIES, is_id, role_score, words
from twotower_jax.data.guess.profile import Profile

Profiles = dict[str, Profile]

EVENTS = 20  # most distinct values of a column of events
# Items have more values than this in a sample of enough rows.
FEW, ENOUGH = 20, 1_000


class Column(NamedTuple):
    """A column and the reason for its role."""

    name: str
    why: str


class Roles(NamedTuple):
    """Columns by role, and what follows from their content.

    Attributes:
      columns: {role: column}.
      keys: further keys of ``data``, such as ``min_rating``, with their values.
      notes: remarks about columns, one sentence each.
    """

    columns: dict[str, Column]
    keys: dict[str, object]
    notes: list[str]


def unused(profiles: Profiles, roles: Roles) -> list[Profile]:
    """Columns without a role that hold a value."""
    used = {column.name for column in roles.columns.values()}
    return [p for p in profiles.values() if p.name not in used and p.kind != "empty"]


def best_named(
    role: str, candidates: Iterable[Profile], fits: Callable[[Profile], bool]
) -> Profile | None:
    """Column whose name fits a role best; of equals an id, then the first one."""
    scored = [(role_score(p.name, role), is_id(p.name), p) for p in candidates]
    scored = [one for one in scored if one[0] and fits(one[2])]
    return max(scored, key=lambda one: one[:2])[2] if scored else None


def is_ids(one: Profile) -> bool:
    """Return whether a column of any name may hold ids."""
    if one.kind not in ("whole", "text") or set(words(one.name)) & QUANTITIES:
        return False
    if role_score(one.name, "clicked") and one.distinct <= EVENTS:
        return False
    return not any(role_score(one.name, role) for role in ("rating", "rank"))


def of_few_values(one: Profile) -> bool:
    """Whether a column has too few values for ids, in a sample of enough rows."""
    return len(one.values) >= ENOUGH and one.distinct <= FEW


def constant_within(group: Profile, candidates: Iterable[Profile]) -> list[Profile]:
    """Return columns of one value in each group, and of fewer values than groups.

    Examples:
      >>> def column(name, values):
      ...     return Profile(name, "whole", pl.Series(values), 0.0, len(set(values)))
      >>> visit, line = column("order", [1, 1, 2, 3]), column("line", [1, 2, 1, 1])
      >>> buyer = column("buyer", [7, 7, 7, 8])
      >>> [one.name for one in constant_within(visit, [buyer, line])]
      ['buyer']
    """
    found = []
    for one in candidates:
        if one.missing or group.missing or not 1 < one.distinct < group.distinct:
            continue
        pairs = pl.DataFrame({"group": group.values, "value": one.values})
        if pairs.n_unique() == group.distinct:
            found.append(one)
    return found
