"""Small logs with stages and requests, and their expected pools."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.funnel_rows import funnel_rows
from twotower_jax.data.hard_pools import PoolRule, make_pools
from twotower_jax.data.log import FunnelLog, Pairs, Split, Stage

COLUMNS = ("user", "item", "stage", "request", "time", "rank", "part")
PRE, RANKED = ("pre_ranked", 0, None), ("ranked", 0, None)


def make_log(rows, columns=COLUMNS[:4], num_items=None):
    """Return a log of rows (user, item, stage, ...); ids are their own codes."""
    values = dict(zip(columns, zip(*rows, strict=True), strict=True))
    stage = [Stage[name.upper()] for name in values["stage"]]
    types = {"request": np.int64, "time": np.float64, "rank": np.int32, "part": np.int8}
    extra = {n: np.array(values[n], t) for n, t in types.items() if n in values}
    users, items = max(values["user"]) + 1, num_items or max(values["item"]) + 1
    return FunnelLog(
        user=np.array(values["user"], np.int32),
        item=np.array(values["item"], np.int32),
        stage=np.array(stage, np.int8),
        user_ids=pl.Series(range(users)),
        item_ids=pl.Series(range(items)),
        **extra,
    )


def pairs(log, rows):
    time = None if log.time is None else log.time[rows]
    request = None if log.request is None else log.request[rows]
    return Pairs(log.user[rows], log.item[rows], time, request)


def by_hand(log, held_out=()):
    """Return the split whose test positives are the rows held_out."""
    clicked = np.flatnonzero(log.stage == Stage.CLICKED)
    train = np.setdiff1d(clicked, held_out)
    none = np.array([], int)
    return Split(
        pairs(log, train), pairs(log, none), pairs(log, np.array(held_out, int))
    )


def pools_of(log, split, seed=0, **rule):
    """Return the pools of a rule given by keywords, and the report."""
    return make_pools(funnel_rows(log, split), PoolRule(**rule), log.num_items, seed)


def pool_dicts(pools, log):
    """Return {item: probability} of every training positive, None without a pool."""
    out = []
    for row in pools.of_row:
        if row < 0:
            out.append(None)
            continue
        real = pools.item[row] < log.num_items
        assert (np.isfinite(pools.log_prob[row]) == real).all()
        prob = np.exp(pools.log_prob[row][real].astype(float))
        out.append(dict(zip(pools.item[row][real].tolist(), prob, strict=True)))
    return out


def approx(expected):
    return None if expected is None else pytest.approx(expected, rel=1e-6)
