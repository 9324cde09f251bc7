"""Content of the columns of a sample: numbers, texts, times, lists."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import polars as pl

from twotower_jax.data.parse import NO_IDS, to_time
from twotower_jax.errors import InputError

ROLES: dict[str, tuple[str, ...]] = {
    "user": (
        *("user", "usr", "uid", "u", "who", "visitor", "customer", "client", "member"),
        *("reviewer", "rater", "reader", "player", "account", "buyer", "shopper"),
        *("consumer", "viewer", "listener", "subscriber", "person", "profile"),
        *("household", "msno", "student", "learner", "patient", "borrower", "playlist"),
        *("repo", "repository", "project", "query", "device", "cookie", "gamer"),
        *("contributor", "author", "employee", "users", "username", "login"),
        *("actor", "email"),
    ),
    "item": (
        *("item", "iid", "i", "what", "product", "prod", "movie", "film", "asin"),
        *("article", "news", "song", "track", "video", "book", "isbn", "business"),
        *("venue", "poi", "location", "place", "recipe", "package"),
        *("artist", "sku", "good", "page", "doc", "document", "app", "game", "ad"),
        *("creative", "course", "job", "listing", "property", "hotel", "restaurant"),
        *("post", "photo", "dish", "content", "anime", "podcast", "episode", "beer"),
        *("shown", "impressions", "candidates", "items", "products", "goods"),
    ),
    "time": (
        *("timestamp", "time", "ts", "datetime", "at", "when", "date", "created"),
        *("unixtime", "unixreviewtime", "eventtime", "submitted", "created at", "t"),
        *("clicked at", "event time", "review time", "unix time", "day"),
    ),
    "stage": ("stage", "funnel stage"),
    "rating": (
        *("rating", "ratings", "stars", "star", "overall", "score", "review score"),
        *("review rating", "r"),
    ),
    "clicked": (
        *("clicked", "click", "is click", "isclick", "label", "target", "event", "y"),
        *("action", "behavior", "behaviour", "event type", "interaction", "liked"),
        *("like", "likes"),
        *("purchased", "is clicked", "clicks", "is purchased", "type", "behavior type"),
        *("opened", "tapped", "selected", "booked", "bought"),
    ),
    "request": (
        *("request", "impression", "session", "order", "basket", "transaction"),
        *("search", "cart", "visit", "slate", "req", "invoice", "page view"),
    ),
    "rank": ("rank", "position", "pos", "slot", "place in list"),
}
# Users of pairs such as package and dependency, where nobody else is named.
WEAK_USERS = {"repo", "repository", "project"}
# The end of a directed pair of ids, such as package and dependency; it is the item even
# where the other column is named as one of items.
TARGETS = {
    *("dependency", "dependencies", "depends", "dependee", "requires", "required"),
    *("imports", "imported", "cited", "cites", "reference", "references", "referenced"),
    *("followee", "followed", "linked", "destination", "dest", "dst"),
}
# Words of quantities, which are not ids, and of lists that are not those shown.
QUANTITIES = {
    *("price", "quantity", "qty", "count", "amount", "age", "year", "weight", "title"),
    *("duration", "num", "total", "cost", "length", "name", "text", "review"),
    *("comment", "gender", "genres", "genre", "category", "zip", "helpful", "vote"),
    *("votes", "reordered", "description", "summary", "hour", "dow", "days"),
    *("verified", "seconds", "minutes", "milliseconds", "ms", "feature", "features"),
}
# Words for what users and items have, as in user_feature_0 or customer_city.
TRAITS = {
    *("feature", "features", "agent", "type", "segment", "group", "cluster", "level"),
    *("city", "country", "region", "state", "gender", "age", "status", "language"),
}
# Words of what a user gave to an item in one row: time, repetitions, parts of it.
AMOUNTS = {
    *("watch", "watched", "watchtime", "view", "viewed", "play", "played", "plays"),
    *("playtime", "playcount", "playback", "listen", "listened", "listens", "dwell"),
    *("completion", "completed", "progress", "seconds", "minutes", "hours", "ms"),
    *("duration", "quantity", "qty", "units", "count", "grade", "spent"),
}
PAST = {"history", "hist", "past", "previous", "prior"}
# Requests that can stand for the users of a log that has none.
VISITS = {"session", "order", "basket", "visit", "cart", "invoice", "transaction"}
# Ends of a name that mark an id and do not change its role.
_IDS = ("id", "ids", "idx", "procid", "no", "nr", "number", "code", "uri", "key")


def words(name: str) -> list[str]:
    """Words of a name of a column, in lower case, without a mark of an id.

    Examples:
      >>> words("userId"), words("user_procid"), words("visitorid"), words("item:token")
      (['user'], ['user'], ['visitor'], ['item'])
    """
    name = re.sub(r":(token|float)(_seq)?$", "", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part]
    while len(parts) > 1 and parts[-1] in _IDS:
        parts.pop()
    if parts and len(parts[-1]) > 4 and parts[-1].endswith("id"):
        parts[-1] = parts[-1].removesuffix("id")
    return parts


def role_score(name: str, role: str) -> int:
    """How well a name fits a role: 3 exactly, 2 by one of its words, 0 not at all.

    Names that fit only where no other name does have 1.

    Examples:
      >>> role_score("movieId", "item"), role_score("clicked_item", "item")
      (3, 2)
      >>> role_score("price", "item")
      0
    """
    parts = words(name)
    if role == "user" and WEAK_USERS & set(parts):
        return 1
    if " ".join(parts) in ROLES[role] or "".join(parts) in ROLES[role]:
        return 3
    # Words of one letter are names, not parts of names.
    return 2 if any(len(p) > 1 and p in ROLES[role] for p in parts) else 0


def is_id(name: str) -> bool:
    """Whether a name is marked as that of an id.

    Examples:
      >>> is_id("order_id"), is_id("visitorid"), is_id("orders")
      (True, True, False)
    """
    return bool(re.search(r"(?i)(^|[^a-z]|[a-z])(id|idx|procid|uri|asin|isbn)$", name))


LABELS = {"0", "1", "true", "false", "0.0", "1.0"}
# Texts of lists: brackets, or MIND's items with their labels.
BRACKETS = re.compile(r"\s*[\[(].*[\])]\s*")
# Numbers such as 4,12: a decimal comma, or a list of two ids below 100.
COMMAS = r"^-?\d+(,\d{1,2})?$"
LABELLED = re.compile(r"\S+-[01](\s+\S+-[01])*")


class Profile(NamedTuple):
    """Content of one column of a sample.

    Attributes:
      name: of the column.
      kind: "whole", "number", "comma" (numbers with a decimal comma), "text", "bool",
        "moment" (a date or a time), "list", "other" (records, bytes) or "empty".
      values: the values without the missing ones; numbers as float64.
      missing: share of missing values.
      distinct: number of distinct values.
      separator: of the lists in a text; "labels" where items end with -0 or -1.
    """

    name: str
    kind: str
    values: pl.Series
    missing: float
    distinct: int
    separator: str | None = None

    def few(self) -> list[str]:
        """Values as text, the most frequent first, 10 at most; of records none."""
        if self.kind == "other":
            return []
        counts = self.values.cast(pl.String).value_counts(sort=True)
        return counts.head(10).to_series(0).to_list()

    def decimal_comma(self) -> str:
        """Return why numbers with a decimal comma are not used, and the remedy."""
        some = self.values.filter(self.values.str.contains(",", literal=True))[0]
        return f"numbers such as {some!r} are read with a decimal point; write them so"

    def first(self) -> str:
        """The first value as text."""
        return str(self.values[0]) if len(self.values) else ""


def profile(values: pl.Series) -> Profile:
    """Content of one column.

    Examples:
      >>> profile(pl.Series("age", ["3", "4", None])).kind
      'whole'
      >>> profile(pl.Series("price", ["3,5", "4,12", "4"])).kind
      'comma'
      >>> profile(pl.Series("shown", ["N1-0 N2-1", "N3-1"])).separator
      'labels'
    """
    name, present = values.name, values.drop_nulls()
    missing = 1 - len(present) / max(1, len(values))
    if not len(present):
        return Profile(name, "empty", present, 1.0, 0)
    kind, separator = "text", None
    if isinstance(present.dtype, pl.Array):
        present = present.arr.to_list()
    if isinstance(present.dtype, pl.List):
        return Profile(name, "list", present, missing, len(present))
    if present.dtype.is_nested() or present.dtype in NO_IDS:
        return Profile(name, "other", present, missing, len(present))
    if present.dtype == pl.Boolean:
        kind = "bool"
    elif present.dtype in (pl.Date, pl.Datetime):
        kind = "moment"
    elif present.dtype.is_numeric():
        kind = "whole" if present.dtype.is_integer() else "number"
        present = present.cast(pl.Float64) if kind == "number" else present
    else:
        present = present.cast(pl.String).str.strip_chars()
        kind, separator = _text_kind(present)
    return Profile(name, kind, present, missing, present.n_unique(), separator)


def _text_kind(values: pl.Series) -> tuple[str, str | None]:
    """Return the kind of texts, and the separator of the lists in them."""
    head = values.head(1_000)
    if head.str.contains(f"^(?:{LABELLED.pattern})$").all():
        return "list", "labels"
    if head.str.contains(f"^(?:{BRACKETS.pattern})$").all():
        return "list", "comma" if head.str.contains(",").any() else "space"
    numbers = values.cast(pl.Float64, strict=False)
    if not numbers.has_nulls():
        whole = not values.str.contains(r"[.eE]").any()
        return ("whole" if whole else "number"), None
    if values.str.contains(COMMAS).all():
        return "comma", None
    if is_moment(values):
        return "moment", None
    for name, mark in (
        ("space", " "),
        ("bar", "|"),
        ("comma", ","),
        ("semicolon", ";"),
    ):
        parts = head.str.split(mark).list
        # Words that are ids, unlike those of a title.
        words = parts.explode(keep_nulls=False, empty_as_null=False)
        ids = words.str.contains(r"^[A-Za-z]{0,3}\d+$").all()
        if ids and parts.len().to_numpy().mean() > 1.2:
            return "list", name
    return "text", None


def is_moment(values: pl.Series) -> bool:
    """Whether all texts parse as dates or times, and none as a number."""
    try:
        to_time(values.head(200), "", "")
    except InputError:
        return False
    return bool(values.head(200).cast(pl.Float64, strict=False).is_null().all())


def numbers(one: Profile) -> np.ndarray:
    """Values of a column of numbers, [present rows] float64."""
    return one.values.cast(pl.Float64, strict=False).drop_nulls().to_numpy()


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
