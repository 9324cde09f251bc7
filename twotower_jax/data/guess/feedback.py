"""Columns that define the positives: stages, clicks, events and ratings."""

import polars as pl

from twotower_jax.data.guess.names import role_score, words
from twotower_jax.data.guess.profile import LABELS, Profile, numbers
from twotower_jax.data.guess.roles import (
    EVENTS,
    Column,
    Profiles,
    Roles,
    best_named,
    unused,
)
from twotower_jax.data.log import Stage

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
