"""Columns of a log that describe its items or users: candidates for features."""

from twotower_jax.data.guess.names import VISITS, words
from twotower_jax.data.guess.roles import Profiles, Roles, constant_within, unused
from twotower_jax.data.guess.side import feature_kind, unfit_name

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
