"""Users and items where no column is named as them: the first one that fits."""

from twotower_jax.data.guess.names import role_score, words
from twotower_jax.data.guess.profile import Profile
from twotower_jax.data.guess.roles import (
    ENOUGH,
    Column,
    Profiles,
    Roles,
    constant_within,
    is_ids,
    of_few_values,
    unused,
)
from twotower_jax.errors import InputError


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
