"""The pool of one request, for equal and for unequal weights of the stages."""

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from figures.style import COLOURS, STYLE, axes
from twotower_jax.data.funnel_rows import funnel_rows
from twotower_jax.data.hard_pools import PoolRule, make_pools
from twotower_jax.data.log import FunnelLog, Pairs, Split, Stage

RETRIEVED, PRE_RANKED = 8, 4
STAGES = (("retrieved", 0, None), ("pre_ranked", 0, None))


def one_request() -> tuple[FunnelLog, Split]:
    """Return a log of one request: a click, and the rejects of two stages."""
    rejected = [Stage.RETRIEVED] * RETRIEVED + [Stage.PRE_RANKED] * PRE_RANKED
    stage = [Stage.CLICKED, *rejected]
    rows = len(stage)
    log = FunnelLog(
        user=np.zeros(rows, np.int32),
        item=np.arange(rows, dtype=np.int32),
        stage=np.array(stage, np.int8),
        user_ids=pl.Series("user", [0]),
        item_ids=pl.Series("item", np.arange(rows)),
        request=np.zeros(rows, np.int64),
    )
    empty = Pairs(log.user[:0], log.item[:0])
    request = np.zeros(1, np.int64)
    train = Pairs(log.user[:1], log.item[:1], None, request)
    return log, Split(train, empty, empty)


def draw() -> Figure:
    """Return the probability of a draw of each item of the pool."""
    log, split = one_request()
    one = axes("item of the request", "probability of a draw")
    with mpl.rc_context(STYLE):
        for place, weights in enumerate(((1.0, 1.0), (1.0, 3.0))):
            rule = PoolRule(STAGES, weights)
            pools, _ = make_pools(funnel_rows(log, split), rule, log.num_items)
            order = np.argsort(pools.item[0])
            chance = np.exp(pools.log_prob[0][order])
            at = np.arange(1, len(chance) + 1) + 0.4 * (place - 0.5)
            label = "weights=[{:g}, {:g}]".format(*weights)
            one.bar(at, chance, 0.38, color=COLOURS[place], label=label)
        one.set_xticks([4.5, 10.5], ["8 pre-ranking rejects", "4 ranking rejects"])
        one.axvline(RETRIEVED + 0.5, color=COLOURS[-1], lw=1, ls="--")
        one.legend()
    return one.figure
