"""Checks of the questions to an exported model."""

import warnings
from collections.abc import Sequence

import numpy as np

from twotower_jax.errors import InputError
from twotower_jax.export.items import Ids


def check_k(k: int, most: int) -> None:
    """Refuse a length of lists."""
    if not 1 <= k <= most:
        raise InputError(f"k={k} is out of range; give 1 to {most}")


def check_queries(
    users: Ids | None, histories: Sequence[Ids] | None, read: bool
) -> None:
    """Refuse users and histories that are not queries of a model."""
    if users is None and histories is None:
        raise InputError("recommend needs users= or histories=; give one of them")
    if histories is None:
        return
    if users is not None and len(users) != len(histories):
        raise InputError(
            f"users= has {len(users)} ids and histories= {len(histories)} lists; "
            "give one history per user"
        )
    if not read:
        raise InputError(
            "histories= is given, but the query tower reads no history; give "
            "users= alone, or export a run with history in towers.query"
        )


def warn_unknown(
    users: Ids, codes: np.ndarray, histories: Sequence[np.ndarray] | None
) -> None:
    """Warn of users of whom nothing is known, whose lists are all the same."""
    nothing = codes < 0
    if histories is not None:
        nothing &= np.array([len(one) == 0 for one in histories], bool)
    if nothing.any():
        first = list(users)[int(nothing.argmax())]
        warnings.warn(
            f"{int(nothing.sum())} of {len(codes)} users are not in the log, such as "
            f"{first!r}, and have no history, so their lists are all the same; serve "
            "the most clicked items to them, or histories= by a model that reads some",
            stacklevel=3,
        )
