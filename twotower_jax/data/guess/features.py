"""Columns of a log that describe its items or users: candidates for features."""

from twotower_jax.data.guess.names import VISITS, words
from twotower_jax.data.guess.roles import Profiles, Roles, owners, unused
from twotower_jax.data.guess.side import feature_kind, name_reason

# Rows for each item or user of a sample, below which one value may be by chance.
ENOUGH = 3
# {role: (key of the features, key of the tower that reads them)}
KEYS = {
    "item": ("data.candidate_features", "towers.candidate"),
    "user": ("data.query_features", "towers.query"),
}


def note_features(profiles: Profiles, roles: Roles) -> None:
    """Add a remark about each unused column of one value for each item or user.

    Where visits stand for the users, such a column may be the users themselves.

    Args:
      profiles: {name: content} of all columns.
      roles: those of the columns; their remarks are changed in place.
    """
    for role, (features, tower) in KEYS.items():
        ids = profiles[roles.columns[role].name]
        rows = len(ids.values)
        visits = role == "user" and VISITS & set(words(ids.name))
        if visits or ids.kind == "list" or rows < ENOUGH * ids.distinct:
            continue
        for one in owners(ids, unused(profiles, roles)):
            kind = feature_kind(one, rows)
            if kind is None or name_reason(one.name):
                continue
            codes = ", or categorical if they are codes" if kind == "numeric" else ""
            roles.notes.append(
                f"column {one.name!r} has one value for each {role} ({one.distinct:,} "
                f"values{codes}): {features}.{one.name}={kind} "
                f"{tower}=[id,{one.name}] makes it a feature of the {role}s"
            )
