"""Columns with an amount for each row, such as a watch time: weights of positives."""

from twotower_jax.data.guess.names import AMOUNTS, words
from twotower_jax.data.guess.profile import numbers
from twotower_jax.data.guess.roles import Profiles, Roles, constant_within, unused
from twotower_jax.data.guess.side import unfit_name


def note_amounts(profiles: Profiles, roles: Roles) -> None:
    """Add a remark about each unused column of an amount, and how positives use it.

    A column of one value for each item, such as the length of a film, is none.

    Args:
      profiles: {name: content} of all columns.
      roles: those of the columns; their remarks are changed in place.
    """
    item = profiles[roles.columns["item"].name]
    if item.kind == "list" or len(item.values) < 2 * item.distinct:
        return
    for one in unused(profiles, roles):
        if not AMOUNTS & set(words(one.name)) or unfit_name(one.name):
            continue
        if one.kind not in ("whole", "number") or one.missing or one.distinct <= 2:
            continue
        values = numbers(one)
        if values.min() < 0 or constant_within(item, [one]):
            continue
        text = (
            f"column {one.name!r} has an amount for each row ({values.min():g} to "
            f"{values.max():g}): positives.weight={one.name} weighs positives by it"
        )
        if not {"clicked", "stage", "rating"} & set(roles.columns):
            text += (
                f"; data.columns.rating={one.name} data.min_rating=X makes positives "
                "of the rows with X or more"
            )
        roles.notes.append(text)
