"""Roles of the columns of a log, guessed from their names and their content."""

import numpy as np
import polars as pl

from twotower_jax.data.guess.clock import is_dated, no_time, time_formats
from twotower_jax.data.guess.profile import (
    AMOUNTS,
    ENOUGH,
    EVENTS,
    FEW,
    LABELS,
    PAST,
    TARGETS,
    TRAITS,
    VISITS,
    Column,
    Profile,
    Profiles,
    Roles,
    best_named,
    constant_within,
    is_id,
    is_ids,
    numbers,
    of_few_values,
    profile,
    role_score,
    unused,
    words,
)
from twotower_jax.data.guess.side import feature_kind, unfit_name
from twotower_jax.data.log import Stage
from twotower_jax.data.parse import UNITS, check_forms, unit
from twotower_jax.data.sources.files import need_columns
from twotower_jax.errors import InputError


def note_amounts(profiles: Profiles, roles: Roles) -> None:
    """Add a remark about each unused column of an amount, and how positives use it.

    A column of one value for each item, such as the length of a film, is none.
    """
    item = profiles[roles.columns["item"].name]
    if item.kind == "list" or len(item.values) < 2 * item.distinct:
        return
    every = not {"clicked", "stage", "rating"} & set(roles.columns)
    for one in unused(profiles, roles):
        if not AMOUNTS & set(words(one.name)) or unfit_name(one.name):
            continue
        if one.kind not in ("whole", "number") or one.missing or one.distinct <= 2:
            continue
        if constant_within(item, [one]):
            continue
        if numbers(one).min() >= 0:
            roles.notes.append(_weight(one, every))
        elif every:
            roles.notes.append(_below_zero(one))


def _weight(one: Profile, every: bool) -> str:
    """Return the remark about amounts from 0 on; `every`: each row is a positive."""
    values = numbers(one)
    text = (
        f"column {one.name!r} has an amount for each row ({values.min():g} to "
        f"{values.max():g}): positives.weight={one.name} weighs positives by it"
    )
    if every:
        text += (
            f"; data.columns.rating={one.name} data.min_rating=X makes positives of "
            "the rows with X or more"
        )
    return text


def _below_zero(one: Profile) -> str:
    """Return the remark about amounts that may be below 0, such as returned goods."""
    values = numbers(one)
    least = 1 if one.kind == "whole" else 0
    return (
        f"column {one.name!r} is below 0 in {(values < 0).sum():,} rows of the sample "
        f"({values.min():g} at the least), as for returned goods, and these rows are "
        f"positives too; data.columns.rating={one.name} data.min_rating={least} makes "
        f"positives of the rows with {least} or more alone"
    )


# With fewer rows for each item or user, a column may have one value by chance.
LEAST_ROWS = 3
CODES = " (categorical if its numbers are codes)"
# {role: (key of the features, key of the tower that reads them)}
KEYS = {
    "item": ("data.candidate_features", "towers.candidate"),
    "user": ("data.query_features", "towers.query"),
}


def note_features(profiles: Profiles, roles: Roles) -> None:
    """Add a remark about each unused column of one value for each item or user.

    Where visits stand for the users, such a column may be the users themselves.
    """
    for role, (features, tower) in KEYS.items():
        ids = profiles[roles.columns[role].name]
        rows = len(ids.values)
        visits = role == "user" and VISITS & set(words(ids.name))
        if visits or ids.kind == "list" or rows < LEAST_ROWS * ids.distinct:
            continue
        for one in constant_within(ids, unused(profiles, roles)):
            kind = feature_kind(one, rows)
            if kind is None or unfit_name(one.name):
                continue
            roles.notes.append(
                f"column {one.name!r} has one value for each {role}; "
                f"{features}.{one.name}={kind} {tower}=[id,{one.name}] makes it a "
                f"feature of the {role}s{CODES if kind == 'numeric' else ''}"
            )


def choose_by_place(profiles: Profiles, roles: Roles, where: str, rows: int) -> None:
    """Choose users and items by their place where no name fits.

    Columns of few values, of a value for each row, and of requests are taken last.
    """
    free = unused(profiles, roles)
    others = [p for p in free if is_ids(p)] or [p for p in free if _is_title(p)]
    item = roles.columns.get("item")
    alone = item and rows >= 10 and profiles[item.name].distinct == rows
    if item and "user" not in roles.columns and profiles[item.name].kind != "list":
        others = [] if alone else others
    for role in ("user", "item"):
        if role in roles.columns:
            continue
        if not others:
            raise _nothing(role, profiles, where, item.name if alone and item else "")
        user = roles.columns.get("user")
        others.sort(key=lambda one: _unlikely(one, user and profiles[user.name]))
        chosen = others.pop(0)
        why = f"the first other column of ids; data.columns.{role}=NAME names another"
        roles.columns[role] = Column(chosen.name, why)


def _nothing(role: str, profiles: Profiles, where: str, item: str) -> InputError:
    """Return the error for a role without a column."""
    if item:
        hint = (
            f"Each value of {item!r} occurs once, so this may be a table of items: "
            "give the log as FILE and this file as --items. Else name"
        )
    else:
        hint = "Name"
    return InputError(
        f"{where}: nothing looks like a column of {role}s; its columns are: "
        f"{', '.join(profiles)}. {hint} it: data.columns.{role}=NAME"
    )


def _is_title(one: Profile) -> bool:
    """Return whether texts may stand for ids where there are none."""
    named = set(words(one.name)) & {"title", "name"}
    return one.kind == "text" and bool(named) and not one.missing


def _unlikely(one: Profile, user: Profile | None) -> bool:
    """Return whether ids are few, those of rows, or those of requests of one user."""
    if of_few_values(one) or role_score(one.name, "request"):
        return True
    if one.distinct == len(one.values) >= ENOUGH:
        return True
    repeated = len(one.values) >= 2 * one.distinct
    return user is not None and repeated and bool(constant_within(one, [user]))


STAGES = tuple(stage.name.lower() for stage in Stage)
# Events of an item that was shown, and events of a user who wanted it.
SHOWN = {
    *("impression", "imp", "exposure", "exposed", "show", "shown", "display", "skip"),
    *("ignore", "ignored", "no_click", "noclick", "view", "dislike", "hide"),
    *("view_item_list", "view_promotion", "product list viewed"),
}
WANTED = {
    *("click", "clicked", "clk", "purchase", "purchased", "buy", "bought", "cart"),
    *("addtocart", "add_to_cart", "transaction", "fav", "favorite", "like", "order"),
    *("conversion", "share", "play", "save", "download", "install", "comment"),
    *("select_item", "view_item", "add_to_wishlist", "begin_checkout"),
    *("product clicked", "product viewed", "product added", "order completed"),
}
# Names of columns that mark what a user did not want.
UNWANTED = {
    *("skip", "skipped", "ignored", "hidden", "disliked", "returned", "cancelled"),
    *("canceled", "refunded", "removed", "bounced", "rejected"),
}
# Words for 1, and for 0, in a column of both.
YES, NO = {"y", "yes", "t"}, {"n", "no", "f"}
TRUE = {*YES, "1", "1.0", "true"}
SCALES = (5, 10, 20, 100)
POSITIVE = 0.8  # share of the scale from which a rating is a positive: 4 of 5


def find_stage(profiles: Profiles, roles: Roles) -> None:
    """Add the column of stages, if one holds their names alone."""
    if "stage" in roles.columns:
        return
    for one in unused(profiles, roles):
        if one.kind != "text" or not 1 < one.distinct <= EVENTS:
            continue
        values = {value.lower() for value in one.few()}
        named = role_score(one.name, "stage")
        if values <= set(STAGES) and ("clicked" in values or named):
            roles.columns["stage"] = Column(one.name, f"stages {_listed(one)}")
            return
        if named and not values <= set(STAGES):
            roles.notes.append(
                f"column {one.name!r} ({_listed(one)}) is not used: the stages of a "
                f"funnel are {', '.join(STAGES)}; write these words to use it"
            )


def find_clicked(profiles: Profiles, roles: Roles) -> None:
    """Add the column of clicks: 0 and 1, events, or lists beside lists of items."""
    if {"clicked", "stage"} & set(roles.columns):
        return
    item = profiles[roles.columns["item"].name]
    if item.separator == "labels":
        why = "each item ends with -1 (clicked) or -0"
        roles.columns["clicked"] = Column(item.name, why)
        return
    candidates = [p for p in unused(profiles, roles) if _is_feedback(p, item)]
    best = best_named("clicked", candidates, lambda _: True)
    if best is None:
        flags = best_named("rating", candidates, lambda p: set(p.few()) <= LABELS)
        best = flags if flags is not None and flags.distinct == 2 else None
    if best is None:
        marks = [one for one in candidates if _marks_rows(one, item)]
        roles.notes.extend(map(_marks_text, marks))
        free = unused(profiles, roles)
        dated = [p for p in free if p.missing and role_score(p.name, "clicked")]
        roles.notes.extend(map(_dated_text, dated))
        return
    if item.kind == "list" and not _holds_events(best, item):
        roles.columns["clicked"] = Column(best.name, "clicks beside the lists of items")
    elif _flags(best):
        roles.columns["clicked"] = Column(best.name, "values 0 and 1")
    elif (yes := _yes(best)) is not None:
        roles.columns["clicked"] = Column(best.name, f"values {_listed(best)}")
        roles.keys["clicked_values"] = [yes]
    else:
        _events(best, roles)


def _marks_rows(one: Profile, item: Profile) -> bool:
    """Return whether a column with another name marks some of the rows."""
    flags = one.distinct == 2 and _flags(one)
    return item.kind != "list" and (flags or _yes(one) is not None)


def _marks_text(one: Profile) -> str:
    yes, no = _yes(one), min(one.few(), key=lambda value: value.lower() in TRUE)
    if UNWANTED & set(words(one.name)):
        kept, value = "rows without the mark", no
    else:
        kept, value = "marked rows", yes
    keys = f"data.columns.clicked={one.name}"
    keys += "" if value is None else f" data.clicked_values=[{value}]"
    return (
        f"column {one.name!r} marks some rows ({_listed(one)}), and each row is a "
        f"positive; {keys} makes the {kept} positives and the others exposed"
    )


def _dated_text(one: Profile) -> str:
    return (
        f"column {one.name!r} has a value in {1 - one.missing:.0%} of the rows; if it "
        "marks the clicks, write 1 for these rows and 0 for the others into a column, "
        "and give it as data.columns.clicked"
    )


def _flags(one: Profile) -> bool:
    values = {value.lower() for value in one.few()}
    return bool(values) and values <= LABELS and one.distinct <= 2


def _yes(one: Profile) -> str | None:
    """Return the value that stands for 1 in a column of two words, such as Y and N."""
    values = one.few() if one.kind == "text" and one.distinct == 2 else []
    found = [value for value in values if value.lower() in YES]
    no = [value for value in values if value.lower() in NO]
    return found[0] if len(found) == len(no) == 1 else None


def _holds_events(one: Profile, item: Profile) -> bool:
    """Return whether a column beside lists of items has an event per list.

    Else it has the clicked items, or 0 and 1.
    """
    if one.kind != "text" or one.distinct > EVENTS or _flags(one):
        return False
    lists = item.values
    if not isinstance(lists.dtype, pl.List):
        lists = lists.str.extract_all(r"[^\s,;|()\[\]'\"]+")
    return not set(one.few()) & set(lists.explode().cast(pl.String))


def _is_feedback(one: Profile, item: Profile) -> bool:
    """Return whether the content of a column may be clicks or events."""
    if item.kind == "list":
        return one.kind in ("list", "text", "whole")
    if one.kind == "list":
        return False
    few = one.kind in ("text", "whole") and 1 < one.distinct <= EVENTS
    return _flags(one) or few


def _events(one: Profile, roles: Roles) -> None:
    """Use a column of events where it separates wanted items from those shown."""
    values = one.few()
    wanted = [value for value in values if value.lower() in WANTED]
    shown = [value for value in values if value.lower() in SHOWN]
    impressions = [value for value in shown if value.lower() != "view"]
    if wanted and (impressions or (shown and "click" in map(str.lower, wanted))):
        why = f"events {_listed(one)}"
        roles.columns["clicked"] = Column(one.name, why)
        roles.keys["clicked_values"] = wanted
        return
    roles.notes.append(
        f"column {one.name!r} holds events ({_listed(one)}), and each of them is a "
        f"positive; data.columns.clicked={one.name} data.clicked_values=[...] makes "
        "some of them positives and the others exposed"
    )


def find_rating(profiles: Profiles, roles: Roles) -> None:
    """Add the column of ratings and the lowest rating of a positive.

    A positive has at least 80 % of the scale: 4 of 5, 8 of 10.
    """
    if {"clicked", "stage"} & set(roles.columns):
        return
    name = roles.columns["rating"].name if "rating" in roles.columns else None
    free = unused(profiles, roles)
    if name is None:
        best = best_named("rating", free, _is_rating) or _headless(free)
    else:
        best = profiles[name]
    if best is None or best.kind not in ("whole", "number"):
        return
    values = numbers(best)
    scale = min(scale for scale in (*SCALES, values.max()) if scale >= values.max())
    minimum = POSITIVE * scale
    why = f"numbers from {values.min():g} to {values.max():g}"
    roles.columns["rating"] = Column(best.name, why)
    if values.min() < minimum <= values.max():
        roles.keys["min_rating"] = int(minimum) if minimum % 1 == 0 else minimum


def _is_rating(one: Profile) -> bool:
    """Return whether the numbers of a column may be ratings."""
    if one.kind not in ("whole", "number") or not 1 < one.distinct <= 101:
        return False
    values = numbers(one)
    return values.min() >= 0 and 1 < values.max() <= 100


def _headless(free: list[Profile]) -> Profile | None:
    """Return the column of a table without names that holds 1 to 5 in half steps."""
    for one in free:
        if one.name.startswith("column_") and one.distinct <= 10 and _is_rating(one):
            values = numbers(one)
            if values.max() <= 5 and ((2 * values) % 1 == 0).all():
                return one
    return None


def _listed(one: Profile) -> str:
    """Return the values of a column with their shares in the sample."""
    counts = one.values.cast(pl.String).value_counts(sort=True).head(6)
    parts = [f"{v} {n / len(one.values):.0%}" for v, n in counts.iter_rows()]
    return ", ".join(parts)


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
