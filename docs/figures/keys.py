"""Tables of the keys of a choice that most others of its section do not have."""

from collections import Counter

from twotower_jax.config import describe_keys
from twotower_jax.config.root import FAMILIES

FEW = 3  # choices that share a key of their own, such as those of one paper


def values() -> dict[str, str]:
    """Return {"loss-psl": table, ...}."""
    tables = {}
    for section, family in FAMILIES.items():
        rows = {
            name: describe_keys(kind=kind, prefix=f"{section}.")
            for name, kind in family.items()
        }
        having = Counter(row.key for own in rows.values() for row in own)
        for name, own in rows.items():
            lines = [
                f"| `{row.key}` | `{row.default}` | {row.allowed} | {row.doc} |"
                for row in own
                if having[row.key] <= FEW
            ]
            head = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
            place = f"{section.replace('.', '-')}-{name}"
            tables[place] = "\n".join([*head, *lines]) if lines else ""
    return tables
