"""Columns with an amount for each row, such as a watch time: weights of positives."""

from twotower_jax.data.guess.names import AMOUNTS, words
from twotower_jax.data.guess.profile import Profile, numbers
from twotower_jax.data.guess.roles import Profiles, Roles, constant_within, unused
from twotower_jax.data.guess.side import unfit_name


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
