"""Roles of the columns of a log, guessed from their names and their content."""

import numpy as np
import polars as pl

from twotower_jax.data.guess.amounts import note_amounts
from twotower_jax.data.guess.features import note_features
from twotower_jax.data.guess.feedback import find_clicked, find_rating, find_stage
from twotower_jax.data.guess.names import (
    PAST,
    TARGETS,
    TRAITS,
    VISITS,
    is_id,
    role_score,
    words,
)
from twotower_jax.data.guess.place import choose_by_place
from twotower_jax.data.guess.profile import LABELS, Profile, numbers, profile
from twotower_jax.data.guess.roles import (
    FEW,
    Column,
    Profiles,
    Roles,
    best_named,
    constant_within,
    is_ids,
    of_few_values,
    unused,
)
from twotower_jax.data.guess.time_format import is_dated, no_time, time_formats
from twotower_jax.data.parse import check_forms
from twotower_jax.data.sources.files import need_columns
from twotower_jax.data.times import UNITS, unit
from twotower_jax.errors import InputError

# Columns of 0 and 1 from which a table looks like a matrix.
MATRIX = 20


def guess_roles(frame: pl.DataFrame, given: dict[str, Column], where: str) -> Roles:
    """Roles of the columns of a sample."""
    profiles = {name: profile(frame[name]) for name in frame.columns}
    if "item" not in given:
        _refuse_matrix(profiles, where)
    roles = Roles({}, {}, [])
    named = {f"data.columns.{role}": column.name for role, column in given.items()}
    need_columns(frame, named, where)
    roles.columns.update(given)
    _time(profiles, roles)
    find_stage(profiles, roles)
    _items(profiles, roles)
    _users(profiles, roles)
    choose_by_place(profiles, roles, where, len(frame))
    find_clicked(profiles, roles)
    find_rating(profiles, roles)
    _request(profiles, roles)
    _rank(profiles, roles)
    _lists(profiles, roles)
    _commas(profiles, roles)
    note_features(profiles, roles)
    note_amounts(profiles, roles)
    for role in ("user", "item"):
        _check_ids(profiles[roles.columns[role].name], roles, where)
    return roles


def _refuse_matrix(profiles: Profiles, where: str) -> None:
    """Refuse a table with a column for each item."""
    flags = [p for p in profiles.values() if p.kind in ("whole", "number", "bool")]
    marks = [p for p in flags if set(p.few()) <= LABELS]
    if len(marks) >= MATRIX and len(marks) > 0.8 * len(profiles):
        raise InputError(
            f"{where}: {len(marks)} of its {len(profiles)} columns hold 0 and 1 alone, "
            "as of a matrix with a column for each item; write a row for each "
            "interaction: its user and its item"
        )


def _time(profiles: Profiles, roles: Roles) -> None:
    if "time" in roles.columns:
        forms = time_formats(profiles[roles.columns["time"].name])
        if len(forms) == 1:
            roles.keys["time_format"] = forms[0]
        return
    free = unused(profiles, roles)
    # A time of the click alone, such as that of a mail, is empty in other rows.
    whole = [p for p in free if not p.missing]
    moments = [p for p in whole if p.kind == "moment"]
    kinds = ("moment", "whole", "number")
    best = best_named("time", whole, lambda p: p.kind in kinds)
    if best is None and moments:
        best = moments[0]
    if best is None:
        best = best_named("time", free, lambda p: p.kind in kinds)
    if best is None:
        best = _dated(free, {"user", "item"} - set(roles.columns))
    if best is not None:
        roles.columns["time"] = Column(best.name, _clock(best))
        return
    for one in sorted(free, key=lambda p: not role_score(p.name, "time")):
        forms = time_formats(one)
        if len(forms) == 1:
            why = f"dates such as {one.first()!r}, by data.time_format"
            roles.columns["time"] = Column(one.name, why)
            roles.keys["time_format"] = forms[0]
            return
        if is_dated(one) or (one.kind == "text" and role_score(one.name, "time")):
            roles.notes.append(no_time(one, forms))


def _dated(free: list[Profile], open_roles: set[str]) -> Profile | None:
    """Return the last column of another name whose numbers are all dates of our time.

    Columns for the users and items that are not known yet have to be left.
    """
    ids = [one for one in free if is_ids(one)]
    for one in reversed(free):
        if one.kind not in ("whole", "number") or is_id(one.name):
            continue
        if any(role_score(one.name, role) for role in ("user", "item")):
            continue
        left = [other for other in ids if other.name != one.name]
        if _are_dates(numbers(one)) and len(left) >= len(open_roles):
            return one
    return None


def _are_dates(values: np.ndarray) -> bool:
    """Return whether all numbers are times from 1992 to 2036 in one unit."""
    least = dict(UNITS).get(unit(values) or "")
    return least is not None and 7 * least < values.min() <= values.max() < 21 * least


def _clock(one: Profile) -> str:
    """Return the unit of a column of times in words."""
    if one.kind == "moment":
        return f"dates such as {one.first()!r}"
    name = unit(numbers(one))
    if name is None:
        return "numbers without a unit: only their order is used"
    return f"{name} since 1970"


def _items(profiles: Profiles, roles: Roles) -> None:
    if "item" in roles.columns:
        return
    free = [p for p in unused(profiles, roles) if not PAST & set(words(p.name))]
    lists = [p for p in free if p.kind == "list" and not role_score(p.name, "clicked")]
    shown = [p for p in lists if role_score(p.name, "item") or p.separator == "labels"]
    ids = best_named("item", free, lambda p: p.kind in ("whole", "text", "number"))
    if ids is None or not any(role_score(p.name, "user") for p in free):
        # A pair without a column that is named as the users.
        pointed = (p for p in free if TARGETS & set(words(p.name)) and is_ids(p))
        ids = next(pointed, ids)
    if shown or (lists and ids is None):
        best = best_named("item", shown, lambda _: True) or [*shown, *lists][0]
        roles.columns["item"] = Column(best.name, "lists of items")
    elif ids is not None and (other := _of_many_values(ids, free)):
        why = f"{other.distinct:,} values, and {ids.name!r} has {ids.distinct:,}"
        roles.columns["item"] = Column(other.name, why)
    elif ids is not None:
        roles.columns["item"] = Column(ids.name, "its name")


def _of_many_values(named: Profile, free: list[Profile]) -> Profile | None:
    """Return ids of many more values than a column that is named as the items.

    A place or a page with few values is a feature of the items.
    """
    if not of_few_values(named):
        return None
    for one in free:
        other = one.kind in ("whole", "text") and is_ids(one)
        if not other or role_score(one.name, "user") or VISITS & set(words(one.name)):
            continue
        if 10 * named.distinct < one.distinct <= len(named.values) / 2:
            return one
    return None


def _users(profiles: Profiles, roles: Roles) -> None:
    if "user" in roles.columns:
        return
    free = [p for p in unused(profiles, roles) if not TRAITS & set(words(p.name))]
    # A device of few values is what the users have in common.
    many = [p for p in free if not of_few_values(p)]
    kinds = ("whole", "text", "number")
    best = best_named("user", many, lambda p: p.kind in kinds)
    best = best or best_named("user", free, lambda p: p.kind in kinds)
    if best is not None:
        roles.columns["user"] = Column(best.name, "its name")
        return
    visits = [p for p in free if VISITS & set(words(p.name)) and p.kind != "list"]
    if visits and "item" in roles.columns:
        visit = visits[0]
        why = f"no column of users, so each {words(visit.name)[0]} is a query"
        roles.columns["user"] = Column(visit.name, why)
        ids = [one for one in free if is_ids(one) and one.distinct > FEW]
        for one in constant_within(visit, ids):
            roles.notes.append(
                f"each {visit.name} has one {one.name}, of {one.distinct:,} in the "
                f"sample; if they are the users, give data.columns.user={one.name} "
                f"data.columns.request={visit.name}"
            )


def _request(profiles: Profiles, roles: Roles) -> None:
    if "request" in roles.columns:
        return
    best = best_named(
        "request", unused(profiles, roles), lambda p: p.kind in ("whole", "text")
    )
    if best is None:
        return
    if best.missing > 0.5:
        share = f"{best.missing:.0%} of its rows are empty"
        roles.notes.append(f"column {best.name!r} is not taken as the request: {share}")
        return
    roles.columns["request"] = Column(best.name, "its name")


def _rank(profiles: Profiles, roles: Roles) -> None:
    best = best_named("rank", unused(profiles, roles), lambda p: p.kind == "whole")
    if best is None or "rank" in roles.columns:
        return
    first = numbers(best).min()
    if first < 0:
        return
    why = "its name" if first == 0 else f"its name; it begins at {first:.0f}"
    roles.columns["rank"] = Column(best.name, why)


def _lists(profiles: Profiles, roles: Roles) -> None:
    """Set the separator of lists in texts."""
    item = profiles[roles.columns["item"].name]
    if item.kind == "list" and item.separator:
        labels = item.separator == "labels"
        roles.keys["list_separator"] = "space" if labels else item.separator


def _commas(profiles: Profiles, roles: Roles) -> None:
    """Note columns of numbers with a decimal comma."""
    for one in unused(profiles, roles):
        if one.kind == "comma":
            why = one.decimal_comma()
            roles.notes.append(f"column {one.name!r} is not used: {why}")


def _check_ids(one: Profile, roles: Roles, where: str) -> None:
    """Check that ids have one form; note texts among numbers, and leading zeros."""
    if one.kind not in ("whole", "number", "text"):
        return
    text = one.values.cast(pl.String)
    check_forms(text, where, one.name)
    whole = text.str.contains(r"^-?\d+$")
    strange = text.filter(~whole)
    if whole.any() and 0 < len(strange) <= 0.01 * len(text):
        roles.notes.append(
            f"column {one.name!r} has {len(strange):,} texts among numbers in the "
            f"sample, such as {strange[0]!r}; remove these rows if they mark missing "
            "ids"
        )
    _note_zeros(one.name, text.unique(maintain_order=True), roles)


def _note_zeros(name: str, ids: pl.Series, roles: Roles) -> None:
    """Note ids that occur with and without leading zeros."""
    padded = ids.filter(ids.str.contains(r"^0+\d"))
    bare = padded.str.replace(r"^0+(\d)", "$1")
    twice = bare.is_in(ids.implode())
    if twice.any():
        long, short = padded.filter(twice)[0], bare.filter(twice)[0]
        roles.notes.append(
            f"column {name!r} has {int(twice.sum()):,} ids with and without leading "
            f"zeros ({long!r}, {short!r}), which count as different; write them alike "
            "if they are the same"
        )
