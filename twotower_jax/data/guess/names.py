"""Names of columns by role, as the logs of many sites have them."""

import re


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Names of several words stand without the blank.
ROLES: dict[str, frozenset[str]] = {
    "user": _set(
        "user usr uid u who visitor customer client member reviewer rater reader "
        "player account buyer shopper consumer viewer listener subscriber person "
        "profile household msno student learner patient borrower playlist repo "
        "repository project query device cookie gamer contributor author employee "
        "users username login actor email"
    ),
    "item": _set(
        "item iid i what product prod movie film asin article news song track video "
        "book isbn business venue poi location place recipe package artist sku good "
        "page doc document app game ad creative course job listing property hotel "
        "restaurant post photo dish content anime podcast episode beer shown "
        "impressions candidates items products goods"
    ),
    "time": _set(
        "timestamp time ts datetime at when date created unixtime unixreviewtime "
        "eventtime submitted createdat t clickedat reviewtime day"
    ),
    "stage": _set("stage funnelstage"),
    "rating": _set(
        "rating ratings stars star overall score reviewscore reviewrating r"
    ),
    "clicked": _set(
        "clicked click isclick label target event y action behavior behaviour "
        "eventtype interaction liked like likes purchased isclicked clicks ispurchased "
        "type behaviortype opened tapped selected booked bought"
    ),
    "request": _set(
        "request impression session order basket transaction search cart visit slate "
        "req invoice pageview"
    ),
    "rank": _set("rank position pos slot placeinlist"),
}
# Users of pairs such as package and dependency, where nobody else is named.
WEAK_USERS = _set("repo repository project")
# The end of a directed pair of ids, such as package and dependency; it is the item even
# where the other column is named as one of items.
TARGETS = _set(
    "dependency dependencies depends dependee requires required imports imported "
    "cited cites reference references referenced followee followed linked destination "
    "dest dst"
)
# Words of quantities, which are not ids, and of lists that are not those shown.
QUANTITIES = _set(
    "price quantity qty count amount age year weight title duration num total cost "
    "length name text review comment gender genres genre category zip helpful vote "
    "votes reordered description summary hour dow days verified seconds minutes "
    "milliseconds ms feature features"
)
# Words for what users and items have, as in user_feature_0 or customer_city.
TRAITS = _set(
    "feature features agent type segment group cluster level city country region state "
    "gender age status language"
)
# Words of what a user gave to an item in one row: time, repetitions, parts of it.
AMOUNTS = _set(
    "watch watched watchtime view viewed play played plays playtime playcount playback "
    "listen listened listens dwell completion completed progress seconds minutes hours "
    "ms duration quantity qty units count grade spent"
)
PAST = _set("history hist past previous prior")
# Requests that can stand for the users of a log that has none.
VISITS = _set("session order basket visit cart invoice transaction")
# Ends of a name that mark an id and do not change its role.
IDS = _set("id ids idx procid no nr number code uri key")
# Events of an item that was shown, and events of a user who wanted it.
SHOWN = _set(
    "impression imp exposure exposed show shown display skip ignore ignored no_click "
    "noclick view dislike hide view_item_list view_promotion"
) | {"product list viewed"}
WANTED = _set(
    "click clicked clk purchase purchased buy bought cart addtocart add_to_cart "
    "transaction fav favorite like order conversion share play save download install "
    "comment select_item view_item add_to_wishlist begin_checkout"
) | {"product clicked", "product viewed", "product added", "order completed"}
# Names of columns that mark what a user did not want.
UNWANTED = _set(
    "skip skipped ignored hidden disliked returned cancelled canceled refunded removed "
    "bounced rejected"
)
# Values that mark a row, or not; the first two sets stand in a column of both.
YES, NO = _set("y yes t"), _set("n no f")
FLAGS = _set("0 1 true false 0.0 1.0")
TRUE = YES | _set("1 1.0 true")


def words(name: str) -> list[str]:
    """Words of a name of a column, in lower case, without a mark of an id.

    Examples:
      >>> words("userId"), words("user_procid"), words("visitorid"), words("item:token")
      (['user'], ['user'], ['visitor'], ['item'])
    """
    name = re.sub(r":(token|float)(_seq)?$", "", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    parts = re.findall(r"[a-z0-9]+", name.lower())
    while len(parts) > 1 and parts[-1] in IDS:
        parts.pop()
    if parts and len(parts[-1]) > 4:
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
    parts, names = words(name), ROLES[role]
    if role == "user" and WEAK_USERS & set(parts):
        return 1
    if "".join(parts) in names:
        return 3
    # Words of one letter are names, not parts of names.
    return 2 * any(len(part) > 1 and part in names for part in parts)


def is_id(name: str) -> bool:
    """Whether a name is marked as that of an id.

    Examples:
      >>> is_id("order_id"), is_id("visitorid"), is_id("orders")
      (True, True, False)
    """
    return bool(re.search(r"(?i)(id|idx|uri|asin|isbn)$", name))
