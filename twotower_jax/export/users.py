"""The users of an exported model: inputs of the query tower, and seen items."""

from typing import Any

import numpy as np
import polars as pl

from twotower_jax import keys
from twotower_jax.data.encode import codes_of
from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import Ragged, from_pairs, take_rows
from twotower_jax.export.items import Ids, as_series
from twotower_jax.export.towers import LoadedTower

# Users, and items, whose vectors are compared, or measure a recall.
SAMPLE = 1000


def sample_codes(number: int, name: str) -> np.ndarray:
    """At most SAMPLE of the codes 0..number-1, ascending, always the same."""
    drawn = keys.generator(0, f"export_{name}").permutation(number)[:SAMPLE]
    return np.sort(drawn).astype(np.int32)


class Users:
    """The users of an export.

    Attributes:
      ids: [users] ids by code.
    """

    def __init__(self, ids: list[Any], arrays: dict[str, np.ndarray]):
        """Take the users."""
        self.ids = pl.Series("user", ids)
        self._arrays, self._text = arrays, self.ids.cast(pl.String)

    def codes(self, users: Ids) -> np.ndarray:
        """Return the codes [n] int32 of users, -1 for an unknown one."""
        return codes_of(as_series("id", users).cast(pl.String), self._text)

    def inputs(
        self,
        tower: LoadedTower,
        number: int,
        users: np.ndarray | None,
        clicks: list[np.ndarray] | None,
    ) -> dict[str, np.ndarray]:
        """Inputs of the query tower."""
        values = tower.missing(number)
        if users is not None:
            known = users >= 0
            for name, array in values.items():
                stored = self._arrays.get(f"inputs/{name}")
                codes = users[known]
                array[known] = codes if stored is None else stored[codes]
        trained = {one.kind: one.codes for one in tower.inputs}
        for row, items in enumerate(clicks or []):
            history = values["history"]
            known = items[items < trained["history"]]  # later items have no embedding
            last = known[::-1][: history.shape[1]]  # the latest first
            history[row] = -1
            history[row, : len(last)] = last
        return values

    def seen(
        self, number: int, users: np.ndarray | None, clicks: list[np.ndarray] | None
    ) -> Ragged:
        """Item codes that are left out, a row per query."""
        rows, items = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        if users is not None:
            if "seen/items" not in self._arrays:
                raise InputError(
                    "exclude_seen=True, but the folder lists no seen items, for the "
                    "run has data.mask_seen=false; set exclude_seen=False"
                )
            known = np.flatnonzero(users >= 0)
            seen = Ragged(self._arrays["seen/offsets"], self._arrays["seen/items"])
            mine = take_rows(seen, users[known])
            rows.append(known[mine.rows])
            items.append(mine.items)
        for row, history in enumerate(clicks or []):
            rows.append(np.full(len(history), row))
            items.append(history)
        return from_pairs(np.concatenate(rows), np.concatenate(items), number)
