"""Roles of the columns of a log, guessed from their names and their content."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.guess.names import (
    AMOUNTS,
    FLAGS,
    PAST,
    SHOWN,
    TARGETS,
    TRAITS,
    TRUE,
    UNWANTED,
    VISITS,
    WANTED,
    is_id,
    role_score,
    words,
)
from twotower_jax.data.guess.profile import (
    ENOUGH,
    EVENTS,
    FEW,
    Profile,
    best_named,
    constant_within,
    feature_kind,
    is_dated,
    profile,
    time_formats,
)
from twotower_jax.data.log import Stage
from twotower_jax.data.parse import UNITS, unit
from twotower_jax.data.sources.files import need_columns
from twotower_jax.errors import InputError

NUMBERS = ("whole", "number")
IDS = ("whole", "text", "number")
STAGES = tuple(stage.name.lower() for stage in Stage)
SCALES = (5, 10, 20, 100)
POSITIVE = 0.8  # share of the scale from which a rating is a positive: 4 of 5
MATRIX = 20  # columns of 0 and 1 from which a table looks like a matrix
# With fewer rows for each item or user, a column may have one value by chance.
LEAST_ROWS = 3
# {role: (key of the features, key of the tower that reads them)}
FEATURES = {
    "item": ("data.candidate_features", "towers.candidate"),
    "user": ("data.query_features", "towers.query"),
}


class Column(NamedTuple):
    """A column and the reason for its role."""

    name: str
    why: str


class Roles:
    """Columns by role, keys such as ``min_rating`` that follow, and remarks."""

    def __init__(self, frame: pl.DataFrame, given: dict[str, Column]):
        """Look at every column."""
        self.profiles = {name: profile(frame[name]) for name in frame.columns}
        self.columns = dict(given)
        self.keys: dict[str, object] = {}
        self.notes: list[str] = []

    def of(self, role: str) -> Profile:
        """The column of a role."""
        return self.profiles[self.columns[role].name]

    def lack(self, *roles: str) -> bool:
        """Whether none of the roles has a column."""
        return not set(roles) & set(self.columns)

    def free(self) -> list[Profile]:
        """Columns without a role that hold a value."""
        used = {column.name for column in self.columns.values()}
        columns = self.profiles.values()
        return [c for c in columns if c.name not in used and c.kind != "empty"]

    def take(self, role: str, column: Profile, why: str, **keys: object) -> None:
        """Give a column a role, and set the keys that follow."""
        self.columns[role] = Column(column.name, why)
        self.keys |= keys


def guess_roles(frame: pl.DataFrame, given: dict[str, Column], where: str) -> Roles:
    """Roles of the columns of a sample."""
    roles = Roles(frame, given)
    if roles.lack("item"):
        _refuse_matrix(roles.profiles, where)
    named = {f"data.columns.{role}": column.name for role, column in given.items()}
    need_columns(frame, named, where)
    _time(roles)
    _stage(roles)
    _item(roles)
    _user(roles)
    _by_content(roles, where, len(frame))
    _clicked(roles)
    _rating(roles)
    _request(roles)
    _rank(roles)
    item = roles.of("item")
    if item.kind == "list" and item.separator:
        labels = item.separator == "labels"
        roles.keys["list_separator"] = "space" if labels else item.separator
    for column in roles.free():
        if column.kind == "comma":
            why = column.decimal_comma()
            roles.notes.append(f"column {column.name!r} is not used: {why}")
    _note_features(roles)
    _note_amounts(roles)
    return roles


def _refuse_matrix(profiles: dict[str, Profile], where: str) -> None:
    """Refuse a table with a column for each item."""
    marks = [
        c
        for c in profiles.values()
        if c.kind in (*NUMBERS, "bool") and set(c.few()) <= FLAGS
    ]
    if len(marks) >= MATRIX and len(marks) > 0.8 * len(profiles):
        raise InputError(
            f"{where}: {len(marks)} of its {len(profiles)} columns hold 0 and 1 alone, "
            "as of a matrix with a column for each item; write a row for each "
            "interaction: its user and its item"
        )


def _time(roles: Roles) -> None:
    """Take the times by name, then by content, then as dates of one form."""
    if not roles.lack("time"):
        if len(forms := time_formats(roles.of("time"))) == 1:
            roles.keys["time_format"] = forms[0]
        return
    free = roles.free()
    # A time of the click alone, such as that of a mail, is empty in other rows.
    whole = [c for c in free if not c.missing]
    best = (
        best_named("time", whole, _is_clock)
        or next((c for c in whole if c.kind == "moment"), None)
        or best_named("time", free, _is_clock)
        or _numbers_of_dates(roles, free)
    )
    if best is not None:
        roles.take("time", best, _clock(best))
        return
    for column in sorted(free, key=lambda c: not role_score(c.name, "time")):
        forms = time_formats(column)
        if len(forms) == 1:
            why = f"dates such as {column.first()!r}, by data.time_format"
            roles.take("time", column, why, time_format=forms[0])
            return
        named = column.kind == "text" and role_score(column.name, "time")
        if is_dated(column) or named:
            roles.notes.append(_unread_time(column, forms))


def _is_clock(column: Profile) -> bool:
    return column.kind in ("moment", *NUMBERS)


def _numbers_of_dates(roles: Roles, free: list[Profile]) -> Profile | None:
    """Return the last column of another name whose numbers are all dates of our time.

    Columns for the users and items that are not known yet have to be left.
    """
    ids = [column for column in free if column.is_ids()]
    for column in reversed(free):
        named = any(role_score(column.name, role) for role in ("user", "item"))
        if column.kind not in NUMBERS or is_id(column.name) or named:
            continue
        left = [other for other in ids if other.name != column.name]
        if _are_dates(column.numbers()) and len(left) >= sum(
            roles.lack(role) for role in ("user", "item")
        ):
            return column
    return None


def _are_dates(values: np.ndarray) -> bool:
    """Return whether all numbers are times from 1992 to 2036 in one unit."""
    least = dict(UNITS).get(unit(values) or "")
    return least is not None and 7 * least < values.min() <= values.max() < 21 * least


def _clock(column: Profile) -> str:
    """Return the unit of a column of times in words."""
    if column.kind == "moment":
        return f"dates such as {column.first()!r}"
    if (name := unit(column.numbers())) is None:
        return "numbers without a unit: only their order is used"
    return f"{name} since 1970"


def _unread_time(column: Profile, forms: list[str]) -> str:
    """Return the remark about a column of times that cannot be read as it is."""
    text = f"column {column.name!r} (such as {column.first()!r}) is not read as a time"
    if forms:
        keys = " or ".join(f"data.time_format={form!r}" for form in forms)
        return f"{text}; give data.columns.time={column.name} and {keys} to use it"
    numbers = column.values.str.contains(r"^\s*-?\d+(\.\d*)?\s*$")
    if numbers.any() and not numbers.all():
        return (
            f"column {column.name!r} has numbers ({column.values.filter(numbers)[0]!r})"
            f" and texts ({column.values.filter(~numbers)[0]!r}), so it is not read as "
            "a time; write all as seconds since 1970 or all as ISO dates"
        )
    return (
        f"{text}; write seconds since 1970 or ISO dates (2024-05-31 10:00:00), or give "
        "its form by data.time_format, to use it"
    )


def _stage(roles: Roles) -> None:
    """Take the column of stages, if one holds their names alone."""
    for column in roles.free() if roles.lack("stage") else ():
        if column.kind != "text" or not 1 < column.distinct <= EVENTS:
            continue
        values = {value.lower() for value in column.few()}
        named = role_score(column.name, "stage")
        if values <= set(STAGES) and ("clicked" in values or named):
            roles.take("stage", column, f"stages {column.shares()}")
            return
        if named and not values <= set(STAGES):
            roles.notes.append(
                f"column {column.name!r} ({column.shares()}) is not used: the stages "
                f"of a funnel are {', '.join(STAGES)}; write these words to use it"
            )


def _item(roles: Roles) -> None:
    """Take the items by name, lists of them first."""
    if not roles.lack("item"):
        return
    free = [c for c in roles.free() if not PAST & set(words(c.name))]
    lists = [c for c in free if c.kind == "list" and not role_score(c.name, "clicked")]
    shown = [c for c in lists if role_score(c.name, "item") or c.separator == "labels"]
    ids = best_named("item", free, lambda c: c.kind in IDS)
    if ids is None or not any(role_score(c.name, "user") for c in free):
        # A pair without a column that is named as the users.
        pointed = (c for c in free if TARGETS & set(words(c.name)) and c.is_ids())
        ids = next(pointed, ids)
    if shown or (lists and ids is None):
        best = best_named("item", shown, lambda _: True) or [*shown, *lists][0]
        roles.take("item", best, "lists of items")
    elif ids is not None and (other := _with_many_values(ids, free)):
        why = f"{other.distinct:,} values, and {ids.name!r} has {ids.distinct:,}"
        roles.take("item", other, why)
    elif ids is not None:
        roles.take("item", ids, "its name")


def _with_many_values(named: Profile, free: list[Profile]) -> Profile | None:
    """Return ids of many more values than a column that is named as the items.

    A place or a page with few values is a feature of the items.
    """
    for column in free if named.has_few() else ():
        other = role_score(column.name, "user") or VISITS & set(words(column.name))
        many = 10 * named.distinct < column.distinct <= len(named.values) / 2
        if column.is_ids() and not other and many:
            return column
    return None


def _user(roles: Roles) -> None:
    """Take the users by name; a visit stands for them where nothing else does."""
    if not roles.lack("user"):
        return
    free = [c for c in roles.free() if not TRAITS & set(words(c.name))]
    # A device of few values is what the users have in common.
    many = [c for c in free if not c.has_few()]
    best = best_named("user", many, lambda c: c.kind in IDS)
    best = best or best_named("user", free, lambda c: c.kind in IDS)
    if best is not None:
        roles.take("user", best, "its name")
        return
    visits = (c for c in free if VISITS & set(words(c.name)) and c.kind != "list")
    visit = None if roles.lack("item") else next(visits, None)
    if visit is None:
        return
    why = f"no column of users, so each {words(visit.name)[0]} is a query"
    roles.take("user", visit, why)
    ids = [c for c in free if c.is_ids() and c.distinct > FEW]
    for column in constant_within(visit, ids):
        roles.notes.append(
            f"each {visit.name} has one {column.name}, of {column.distinct:,} in the "
            f"sample; if they are the users, give data.columns.user={column.name} "
            f"data.columns.request={visit.name}"
        )


def _by_content(roles: Roles, where: str, rows: int) -> None:
    """Take users and items by their place where no name fits.

    Columns of few values, of a value for each row, and of requests are taken last.
    """
    free = roles.free()
    others = [c for c in free if c.is_ids()] or [c for c in free if _is_title(c)]
    item = None if roles.lack("item") else roles.of("item")
    catalogue = ""  # items that occur once each, so that there may be no log
    if item and item.kind != "list" and roles.lack("user"):
        catalogue = item.name if rows >= 10 and item.distinct == rows else ""
        others = [] if catalogue else others
    for role in ("user", "item"):
        if not roles.lack(role):
            continue
        if not others:
            raise _nothing(role, roles.profiles, where, catalogue)
        user = None if roles.lack("user") else roles.of("user")
        others.sort(key=lambda column: _unlikely(column, user))
        why = f"the first other column of ids; data.columns.{role}=NAME names another"
        roles.take(role, others.pop(0), why)


def _is_title(column: Profile) -> bool:
    """Return whether texts may stand for ids where there are none."""
    named = set(words(column.name)) & {"title", "name"}
    return column.kind == "text" and bool(named) and not column.missing


def _unlikely(column: Profile, user: Profile | None) -> bool:
    """Return whether ids are few, those of rows, or those of requests of one user."""
    if column.has_few() or role_score(column.name, "request"):
        return True
    if column.distinct == len(column.values) >= ENOUGH:
        return True
    repeated = len(column.values) >= 2 * column.distinct
    return user is not None and repeated and bool(constant_within(column, [user]))


def _nothing(role: str, names: Iterable[str], where: str, catalogue: str) -> InputError:
    """Return the error for a role without a column."""
    hint = "Name"
    if catalogue:
        hint = (
            f"Each value of {catalogue!r} occurs once, so this may be a table of items:"
            " give the log as FILE and this file as --items. Else name"
        )
    return InputError(
        f"{where}: nothing looks like a column of {role}s; its columns are: "
        f"{', '.join(names)}. {hint} it: data.columns.{role}=NAME"
    )


def _clicked(roles: Roles) -> None:
    """Take the column of clicks: 0 and 1, events, or lists beside lists of items."""
    if not roles.lack("clicked", "stage"):
        return
    item = roles.of("item")
    if item.separator == "labels":
        roles.take("clicked", item, "each item ends with -1 (clicked) or -0")
        return
    feedback = [c for c in roles.free() if _is_feedback(c, item)]
    best = best_named("clicked", feedback, lambda _: True) or best_named(
        "rating", feedback, lambda c: c.distinct == 2 and set(c.few()) <= FLAGS
    )
    if best is None:
        for column in feedback if item.kind != "list" else ():
            if (column.distinct == 2 and column.is_flag()) or column.yes() is not None:
                roles.notes.append(_marks(column))
    elif item.kind == "list" and not _holds_events(best, item):
        roles.take("clicked", best, "clicks beside the lists of items")
    elif best.is_flag():
        roles.take("clicked", best, "values 0 and 1")
    elif (yes := best.yes()) is not None:
        roles.take("clicked", best, f"values {best.shares()}", clicked_values=[yes])
    else:
        _events(best, roles)


def _is_feedback(column: Profile, item: Profile) -> bool:
    """Return whether the content of a column may be clicks or events."""
    if item.kind == "list":
        return column.kind in ("list", "text", "whole")
    if column.kind == "list":
        return False
    few = column.kind in ("text", "whole") and 1 < column.distinct <= EVENTS
    return few or column.is_flag()


def _holds_events(column: Profile, item: Profile) -> bool:
    """Return whether a column beside lists of items has an event per list.

    Else it has the clicked items, or 0 and 1.
    """
    if column.kind != "text" or column.distinct > EVENTS or column.is_flag():
        return False
    lists = item.values
    if not isinstance(lists.dtype, pl.List):
        lists = lists.str.extract_all(r"[^\s,;|()\[\]'\"]+")
    return not set(column.few()) & set(lists.explode().cast(pl.String))


def _events(column: Profile, roles: Roles) -> None:
    """Take a column of events where it separates wanted items from those shown."""
    values = column.few()
    wanted = [value for value in values if value.lower() in WANTED]
    shown = {value.lower() for value in values} & SHOWN
    clicks = any(value.lower() == "click" for value in wanted)
    if wanted and (shown - {"view"} or (shown and clicks)):
        why = f"events {column.shares()}"
        roles.take("clicked", column, why, clicked_values=wanted)
        return
    roles.notes.append(
        f"column {column.name!r} holds events ({column.shares()}), and each of them is "
        f"a positive; data.columns.clicked={column.name} data.clicked_values=[...] "
        "makes some of them positives and the others exposed"
    )


def _marks(column: Profile) -> str:
    """Return the remark about two values that no name explains."""
    value, kept = column.yes(), "marked rows"
    if UNWANTED & set(words(column.name)):
        kept = "rows without the mark"
        value = min(column.few(), key=lambda text: text.lower() in TRUE)
    values = "" if value is None else f" data.clicked_values=[{value}]"
    return (
        f"column {column.name!r} marks some rows ({column.shares()}), and each row is "
        f"a positive; data.columns.clicked={column.name}{values} makes the {kept} "
        "positives and the others exposed"
    )


def _rating(roles: Roles) -> None:
    """Take the ratings; a positive has at least 80 % of the scale: 4 of 5, 8 of 10."""
    if not roles.lack("clicked", "stage"):
        return
    free = roles.free()
    if roles.lack("rating"):
        best = best_named("rating", free, _is_rating) or _headless(free)
    else:
        best = roles.of("rating")
    if best is None or best.kind not in NUMBERS:
        return
    least, most = best.numbers().min(), best.numbers().max()
    minimum = POSITIVE * min(scale for scale in (*SCALES, most) if scale >= most)
    roles.take("rating", best, f"numbers from {least:g} to {most:g}")
    if least < minimum <= most:
        roles.keys["min_rating"] = int(minimum) if minimum % 1 == 0 else minimum


def _is_rating(column: Profile) -> bool:
    """Return whether the numbers of a column may be ratings."""
    if column.kind not in NUMBERS or not 1 < column.distinct <= 101:
        return False
    values = column.numbers()
    return values.min() >= 0 and 1 < values.max() <= 100


def _headless(free: list[Profile]) -> Profile | None:
    """Return the column of a table without names that holds 1 to 5 in half steps."""
    for column in free:
        if not column.name.startswith("column_") or column.distinct > 10:
            continue
        if _is_rating(column):
            values = column.numbers()
            if values.max() <= 5 and ((2 * values) % 1 == 0).all():
                return column
    return None


def _request(roles: Roles) -> None:
    """Take the requests by name."""
    if not roles.lack("request"):
        return
    best = best_named("request", roles.free(), lambda c: c.kind in ("whole", "text"))
    if best is None:
        return
    if best.missing <= 0.5:
        roles.take("request", best, "its name")
        return
    share = f"{best.missing:.0%} of its rows are empty"
    roles.notes.append(f"column {best.name!r} is not taken as the request: {share}")


def _rank(roles: Roles) -> None:
    """Take the ranks by name."""
    best = best_named("rank", roles.free(), lambda c: c.kind == "whole")
    if best is None or not roles.lack("rank"):
        return
    if (first := best.numbers().min()) >= 0:
        why = "its name" if first == 0 else f"its name; it begins at {first:.0f}"
        roles.take("rank", best, why)


def unfit_name(name: str) -> str:
    """Why a column of this name cannot be a feature, "" where it can."""
    # Names that towers.query and towers.candidate keep for themselves.
    if name in ("id", "history"):
        return "the name is that of an input of every tower; rename it"
    plain = name.replace("_", "").isalnum()
    return "" if plain else "rename it: letters, digits and _ only"


def _note_features(roles: Roles) -> None:
    """Add a remark about each unused column of one value for each item or user."""
    for role, (features, tower) in FEATURES.items():
        ids = roles.of(role)
        # Where visits stand for the users, such a column may be the users themselves.
        visits = role == "user" and VISITS & set(words(ids.name))
        if visits or ids.kind == "list" or len(ids.values) < LEAST_ROWS * ids.distinct:
            continue
        for column in constant_within(ids, roles.free()):
            kind, name = feature_kind(column, len(ids.values)), column.name
            if kind is not None and not unfit_name(name):
                codes = " (categorical if its numbers are codes)" * (kind == "numeric")
                roles.notes.append(
                    f"column {name!r} has one value for each {role}; {features}.{name}="
                    f"{kind} {tower}=[id,{name}] makes it a feature of the {role}s"
                    f"{codes}"
                )


def _note_amounts(roles: Roles) -> None:
    """Add a remark about each unused column of an amount, and how positives use it.

    A column of one value for each item, such as the length of a film, is none.
    """
    item = roles.of("item")
    if item.kind == "list" or len(item.values) < 2 * item.distinct:
        return
    for column in roles.free():
        named = AMOUNTS & set(words(column.name)) and not unfit_name(column.name)
        many = column.kind in NUMBERS and not column.missing and column.distinct > 2
        if not named or not many or constant_within(item, [column]):
            continue
        least, most = column.numbers().min(), column.numbers().max()
        text = (
            f"column {column.name!r} has an amount for each row ({least:g} to {most:g})"
        )
        uses = [f"positives.weight={column.name} weighs positives by it"]
        if least < 0:
            negative = (column.numbers() < 0).sum()
            text += f", below 0 in {negative:,} rows, as for returned goods"
            uses = []
        if roles.lack("clicked", "stage", "rating"):
            limit = "X" if least >= 0 else int(column.kind == "whole")
            uses.append(
                f"data.columns.rating={column.name} data.min_rating={limit} makes "
                f"positives of the rows with {limit} or more"
            )
        if uses:
            roles.notes.append(f"{text}: {'; '.join(uses)}")
