"""The exact mean of a corrected sum over draws, by enumeration of a small catalogue.

For a row with positive p, the sum over draws d of exp(s_d - log N_d) has the mean
sum over the items j != p (that are not masked) of exp(s_j), whatever the sources.
"""

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from helpers.problems import as_loaded, small_problem, with_program, with_times
from twotower_jax.data.log import Stage
from twotower_jax.losses.logits import column_terms
from twotower_jax.negatives import masks
from twotower_jax.negatives.bank import Bank
from twotower_jax.negatives.easy import Easy
from twotower_jax.negatives.hard import HardRatio, RowSlots
from twotower_jax.negatives.source import RowPools, Shared, Slots, no_pools
from twotower_jax.training.batch_loss import batch_terms
from twotower_jax.training.sources import mixture_of
from twotower_jax.training.types import TrainState

ITEMS = 5
# A positive of every user: user u clicked CLICKED[u]; q+ is 3/8, 2/8, 1/8, 1/8, 1/8.
USER = np.array([0, 1, 2, 3, 4, 5, 6, 7])
CLICKED = np.array([0, 0, 0, 1, 1, 2, 3, 4])
SCORES = np.array([0.3, -1.0, 0.9, 0.1, 1.4])
ROW = 3  # Its positive is item 1.
POOL_ITEM = np.array([2, 2, 4, 0])  # Merged: item 2 half of the pool.
REQUEST = np.arange(8)
# Moments of the positives, and of the pool's rows: the row knows items 0, 1 and 2.
TIME, POOL_TIME = np.array([1, 2, 6, 3, 7, 2.5, 8, 5]), 4.0
FIRST = np.array([1, 3, 2.5, 8, POOL_TIME])


def data(positives=(), timed=False):
    """Return the log; ``positives`` are further clicks of the row's user.

    They come after all others where the log is ``timed``.
    """
    more = np.array(positives, int)
    rows = {
        "user": np.full(4, USER[ROW]),
        "item": POOL_ITEM,
        "stage": np.full(4, Stage.RANKED),
        "request": np.full(4, ROW),
    }
    loaded = as_loaded(
        np.concatenate([USER, np.full(len(more), USER[ROW])]),
        np.concatenate([CLICKED, more]),
        8,
        ITEMS,
        rows,
        np.concatenate([REQUEST, 100 + np.arange(len(more))]),
    )
    if not timed:
        return loaded
    time = np.concatenate([TIME, np.full(len(more), 9.0)])
    return with_times(loaded, time, np.full(4, POOL_TIME))


def outcomes(*distributions):
    """Return every outcome [n, draws] of independent draws, and its probability.

    One that cannot be is replaced by one that can, with probability 0, so that n, and
    with it the compiled program, depends on the number of draws alone.
    """
    values = np.array(list(itertools.product(*(range(len(d)) for d in distributions))))
    each = [law[values[:, place]] for place, law in enumerate(distributions)]
    chance = np.prod(each, axis=0)
    return np.where(chance[:, None] > 0, values, values[chance.argmax()]), chance


def estimate(program, train, rows, drawn, items, bank, ratio, has_pool):
    """Return sum_d exp(s_d - log N_d) over the draws of row 0 of the batch ``rows``."""
    negatives, batch = program.negatives, train.batch(rows)
    pool = no_pools(len(rows))
    if negatives.hard_num:
        place = jnp.where(has_pool, train.pools.of_row[rows], len(train.pools.item))
        pool = RowPools(
            train.pools.item.at[place].get(mode="fill", fill_value=ITEMS),
            train.pools.log_prob.at[place].get(mode="fill", fill_value=-jnp.inf),
        )
    samplers = {} if bank is None else {"bank": bank}
    state = TrainState(jnp.int32(5), {}, {}, samplers)
    program = replace(program, hard_ratio=HardRatio(ratio, ratio, 0))
    mixture = mixture_of(program, train, state)

    def of_source(source):
        if isinstance(source, Easy):
            return Shared(drawn)
        if isinstance(source, RowSlots):
            shape = (len(rows), len(items))
            return Slots(jnp.broadcast_to(items, shape), jnp.zeros(shape, bool), pool)
        return source.draw(samplers, None, batch._replace(step=state.step))

    draws = mixture.collect(batch, tuple(of_source(one) for one in mixture.sources))
    columns = draws.columns
    terms = batch_terms(program, train, state, batch, draws)
    pairs = column_terms(terms.columns, terms.rows)
    ids = columns.encode_ids[: columns.log_mult.shape[0]]
    if bank is not None:
        ids = jnp.concatenate([ids, bank.item])
    scores = jnp.asarray(SCORES)
    part = pairs.log_mult[0] - pairs.log_count[0]
    total = jnp.exp(scores[ids.clip(0, ITEMS - 1)] + part).sum()
    if items is not None:
        part = terms.rows.slots.log_mult[0] - terms.rows.slots.log_count[0]
        total += jnp.exp(scores[items.clip(0, ITEMS - 1)] + part).sum()
    return total


def expectation(keys, *, has_pool=True, ratio=None, positives=(), merged=False):
    """Return the exact mean of the estimate for a configuration."""
    keys = {"loss__logq__correct": "negatives", "training__batch_size": 2} | keys
    available = keys.get("negatives__available", False)
    problem = small_problem(data(positives, timed=available), **keys)
    if not merged:
        problem = with_program(problem, merged_size=0)
    program, negatives = problem.program, problem.program.negatives
    q_plus = np.exp(np.asarray(program.log_q_batch, float))
    easy = np.exp(np.asarray(program.easy.log_q, float))
    pool = np.bincount(POOL_ITEM, minlength=ITEMS) / 4
    ratio_now = jnp.float32(0 if ratio is None else ratio)
    if available and negatives.per_row:
        # The row draws from what it knows; columns are drawn from everything.
        easy = np.where(TIME[ROW] >= FIRST, easy, 0)
        easy = easy / easy.sum()
    columns, slots = slot_laws(negatives, easy, pool, has_pool, ratio)
    laws = [q_plus] + columns + slots + [q_plus] * negatives.bank
    values, chance = outcomes(*laws)
    with jax.enable_x64(True):
        sums = estimates(
            problem.program,
            problem.data,
            jnp.asarray(values, jnp.int32),
            ratio_now,
            jnp.asarray(has_pool),
            draws=(len(columns), len(slots)),
            chunk=masks.CHUNK,
        )
    return float(chance @ np.asarray(sums))


@partial(jax.jit, static_argnames=("draws", "chunk"))
def estimates(program, train, values, ratio, has_pool, *, draws, chunk):
    """Return the estimate of each outcome; ``draws`` are columns and slots.

    The program of a mixture is compiled once for all its ratios and pools, and again
    for another ``masks.CHUNK``, which it reads.
    """
    assert chunk == masks.CHUNK
    (m, k), negatives = draws, program.negatives

    def one(value):
        # A row of the batch stands for its item: rows 0, 3, 5, 6, 7 are items 0 to 4.
        other = jnp.array([0, 3, 5, 6, 7])[value[:1]]
        rows = jnp.concatenate([jnp.array([ROW]), other])
        mine = value[1 + m : 1 + m + k] if k else None
        bank = None
        if negatives.bank:
            item = value[1 + m + k :].astype(jnp.int32)
            log_q = program.log_q_batch[item]
            bank = Bank(
                jnp.zeros((negatives.bank, 6)), item, log_q, jnp.zeros_like(item)
            )
        drawn = value[1 : 1 + m]
        return estimate(program, train, rows, drawn, mine, bank, ratio, has_pool)

    return jax.lax.map(one, values, batch_size=256)


def slot_laws(negatives, easy, pool, has_pool, ratio):
    """Return the laws of easy columns and of slots; the last outcome is "off"."""
    hard = pool if has_pool else easy
    off = np.eye(ITEMS + 1)[ITEMS]

    def switched(law, on):
        return on * np.append(law, 0) + (1 - on) * off

    if negatives.per_row:
        if ratio is None:
            return [], [easy] * negatives.easy_num + [hard] * negatives.hard_num
        return [], [ratio * hard + (1 - ratio) * easy] * negatives.slots
    easy_on = hard_on = 1.0
    if ratio is not None and negatives.hard_num:
        # Expected hard over expected hard and easy is the ratio.
        m, h = negatives.easy_num, negatives.hard_num
        hard_on = 1.0 if ratio == 1 else min(1, m * ratio / ((1 - ratio) * h))
        easy_on = 1.0 if ratio == 0 else min(1, h * (1 - ratio) / (ratio * m))
    return (
        [switched(easy, easy_on)] * negatives.easy_num,
        [switched(hard, hard_on)] * negatives.hard_num,
    )


def others(*masked, only=None):
    """Return the sum over the items that are not masked."""
    kept = [j for j in range(ITEMS) if j not in (CLICKED[ROW], *masked)]
    return sum(np.exp(SCORES[j]) for j in kept if only is None or j in only)
