"""Rivals: the items that competed with a held-out positive, by stage of the funnel."""

import numpy as np
import polars as pl

from twotower_jax.data.log import FunnelLog, Pairs, Stage
from twotower_jax.errors import InputError

UNIFORM = "uniform"
# Uniform rivals of a query, and the fixed seed of their draw: a test set, not a choice.
UNIFORM_RIVALS, UNIFORM_SEED = 100, 0


def rivals(
    log: FunnelLog, held_out: Pairs, earlier: Pairs, users: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of queries and the rivals of their held-out positives.

    An item that the user clicked is not a rival: neither a positive of the query, nor
    one of training, which the model ranks high for good reason.
    """
    if kind == UNIFORM:
        rng = np.random.default_rng(UNIFORM_SEED)
        item = rng.integers(0, log.num_items, (len(users), UNIFORM_RIVALS)).ravel()
        row = np.repeat(np.arange(len(users)), UNIFORM_RIVALS)
    else:
        rows = _rows(log, held_out, kind)
        place = np.full(log.num_users, -1)
        place[users] = np.arange(len(users))
        row, item = place[log.user[rows]], log.item[rows].astype(np.int64)
        row, item = row[row >= 0], item[row >= 0]

    def codes(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return user.astype(np.int64) * log.num_items + item

    clicked = [codes(pairs.user, pairs.item) for pairs in (held_out, earlier)]
    other = ~np.isin(codes(users[row], item), np.concatenate(clicked))
    return row[other], item[other]


def _rows(log: FunnelLog, held_out: Pairs, kind: str) -> np.ndarray:
    """Return the rows of a stage in the requests of the held-out positives."""
    if log.request is None or held_out.request is None:
        raise InputError(
            f"evaluation.auc=[{kind}] needs the request of each row, and the log has "
            "none; set data.columns.request, or evaluation.auc=[uniform]"
        )
    rows = np.flatnonzero(log.stage == Stage[kind.upper()])
    # Two users may have requests of the same number.
    frame = pl.DataFrame({"user": log.user[rows], "request": log.request[rows]})
    requests = pl.DataFrame({"user": held_out.user, "request": held_out.request})
    matches = frame.with_row_index("at").join(
        requests.unique(), on=["user", "request"], how="semi", maintain_order="left"
    )
    rows = rows[matches["at"].to_numpy()]
    if not len(rows):
        present = np.bincount(log.stage, minlength=len(Stage))
        stages = [s.name.lower() for s in Stage if present[s]]
        raise InputError(
            f"evaluation.auc=[{kind}] finds no such item in the requests of held-out "
            f"positives; the stages of this log are: {', '.join(stages)}"
        )
    return rows
