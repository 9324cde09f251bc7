"""Names of columns: the roles that they suggest."""

import re

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
