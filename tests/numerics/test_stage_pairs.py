"""Pairs of slots from two stages of the funnel, against loops and after training."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, configure, small_problem
from helpers.source_steps import (
    BATCH,
    CLICKS,
    DRAW,
    ITEM,
    ITEMS,
    SGD,
    TEMPERATURE,
    USER,
    USERS,
    batches_of,
    go,
    vectors,
)

from twotower_jax.data.hard_pools import Entries, merge_entries, pad_parts
from twotower_jax.data.log import Stage
from twotower_jax.errors import InputError
from twotower_jax.training.step import init_state

WEIGHT = 0.6
STAGES = (Stage.RETRIEVED, Stage.PRE_RANKED, Stage.RANKED)
# Six items of each request that has a pool, two of each stage; item j always ends at
# stage j % 3, an order that a model can learn.
RNG = np.random.default_rng(1)
OFFERED = np.stack(
    [
        np.concatenate([RNG.permutation(np.arange(s, ITEMS, 3))[:2] for s in range(3)])
        for _ in range(CLICKS)
    ]
)
POOLED = np.arange(CLICKS) % 4 != 3
STAGE = {
    (int(row), int(item)): STAGES[place // 2]
    for row in np.flatnonzero(POOLED)
    for place, item in enumerate(OFFERED[row])
    if item != ITEM[row]
}
LIKED = {(int(u), int(i)) for u, i in zip(USER, ITEM, strict=True)}
HARD = {
    "negatives__hard__num": 5,
    "negatives__hard__stages": ["retrieved", "pre_ranked", "ranked"],
}
EASY = HARD | {"negatives__layout": "per_row", "negatives__easy__num": 4}


@functools.cache
def data():
    rows = {
        "user": np.repeat(USER[POOLED], 6),
        "item": OFFERED[POOLED].ravel(),
        "stage": np.tile(np.repeat(STAGES, 2), POOLED.sum()),
        "request": np.repeat(np.flatnonzero(POOLED), 6),
    }
    return as_loaded(USER, ITEM, USERS, ITEMS, rows, np.arange(CLICKS))


def problem_of(weight, **keys):
    return small_problem(data(), **(SGD | {"loss__stage_pairs__weight": weight} | keys))


def slow_losses(problem, state, rows, mask):
    """Return the loss of the pairs of stages of each row, by loops."""
    query, item = (np.asarray(one, float) for one in vectors(state.params["tables"]))
    batch = problem.data.batch(jnp.asarray(rows))
    slots = DRAW(problem.program, problem.data, state, batch).slots
    losses = []
    for place, row in enumerate(np.asarray(rows)):
        user, kept = USER[row], []
        for drawn, is_hard in zip(
            np.asarray(slots.items[place]),
            np.asarray(slots.is_hard[place]),
            strict=True,
        ):
            hidden = drawn == ITEM[row] or drawn == ITEMS
            if mask == "user_positives":
                hidden |= (int(user), int(drawn)) in LIKED
            if not hidden:
                stage = STAGE[int(row), int(drawn)] if is_hard else -1
                kept.append((stage, query[user] @ item[drawn] / TEMPERATURE))
        pairs = [
            np.log1p(np.exp(low - high))
            for above, high in kept
            for below, low in kept
            if above > below
        ]
        losses.append(np.mean(pairs) if pairs else 0.0)
    return np.array(losses)


@pytest.mark.parametrize(
    ("keys", "mask"),
    [
        pytest.param(HARD, "same_item", marks=pytest.mark.slow),
        (EASY, "user_positives"),
        pytest.param(
            EASY | {"negatives__hard_ratio": 0.5}, "same_item", marks=pytest.mark.slow
        ),
    ],
)
def test_the_loss_is_that_of_the_rows_and_the_weighted_pairs(keys, mask):
    keys = keys | {"negatives__mask": mask, "loss__logq__correct": "none"}
    both, one = problem_of(WEIGHT, **keys), problem_of(0.0, **keys)
    (rows,) = batches_of(both, 1)
    state = init_state(both.program, jnp.float32(0.5))
    losses = [float(go(problem, state, rows)[1][0]) for problem in (both, one)]
    each = slow_losses(both, state, rows, mask)
    assert (each > 0).sum() > BATCH / 3
    assert losses[0] - losses[1] == pytest.approx(WEIGHT * each.mean(), rel=1e-4)


@pytest.mark.slow
def test_training_orders_the_stages_of_a_request():
    keys = EASY | {"loss__logq__correct": "none", "loss__name": "logistic"}
    leads = []
    for weight in (0.0, 3.0):
        problem = problem_of(weight, **keys)
        state, _ = go(problem, problem.start(), batches_of(problem, 400))
        query, item = (np.asarray(one) for one in vectors(state.params["tables"]))
        score = {key: query[USER[key[0]]] @ item[key[1]] for key in STAGE}
        means = [
            np.mean([score[key] for key, stage in STAGE.items() if stage == one])
            for one in STAGES
        ]
        leads.append(np.diff(means))
    assert (leads[1] > 0.02).all()
    assert leads[1].sum() > leads[0].sum() + 0.05


def test_an_item_with_two_stages_in_a_pool_has_the_later_one():
    groups, items = np.array([0, 0, 1, 0]), np.array([3, 1, 3, 3])
    stages = np.array([2, 1, 0, 0])
    merged = merge_entries(Entries(groups, items, np.ones(4), stages), 5)
    pools, _ = pad_parts(lambda: [merged], np.array([0, 1]), 5, 64)
    assert pools.item.tolist() == [[1, 3], [3, 5]]
    assert pools.stage.tolist() == [[1, 2], [0, -1]]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"negatives__hard__num": 2, "negatives__hard__source": "mined"},
    ],
)
def test_rows_without_slots_of_the_log_are_refused(keys):
    with pytest.raises(InputError, match="stage_pairs.weight=1.0 .* negatives=hard"):
        configure(loss__stage_pairs__weight=1.0, **keys)
