"""A whole step against dense autodiff of the definition, and its invariances."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.problems import as_loaded, small_problem, with_program, zipf_clicks
from helpers.quick import quick
from helpers.source_steps import CHEAP

from twotower_jax import keys
from twotower_jax.model.tower import apply_tower
from twotower_jax.negatives.easy import sample
from twotower_jax.training.step import init_state, run_steps, train_step

USERS, ITEMS, BATCH = 30, 40, 16
USER, ITEM = zipf_clicks(USERS, ITEMS, 400)
DATA = as_loaded(USER, ITEM, USERS, ITEMS)
COUNTS = DATA.counts
STEP = jax.jit(train_step, **CHEAP)
EASY = {
    "negatives__easy__sampler": "popularity",
    "negatives__easy__num": 10,
    "training__merge_columns": False,
}


def setup(merged_size=0, **keys):
    """Return program and data of a step, with the number of merged columns."""
    problem = small_problem(DATA, **(EASY | keys))
    problem = with_program(problem, merged_size=merged_size)
    return problem.program, problem.data


def batches(number):
    return (
        np.random.default_rng(1).permutation(400)[: number * BATCH].reshape(number, -1)
    )


def negatives_of(program, items, drawn):
    """Return the negatives of each row: the items of the others, and the draws."""
    rows = range(BATCH if program.negatives.in_batch else 0)
    others = [[items[o] for o in rows if o != row] for row in range(BATCH)]
    return np.array([[*own, *drawn] for own in others])


def dense_loss(params, program, users, items, draws):
    """Return the mean loss of rows whose negatives are listed, on whole tables."""
    query = apply_tower(
        program.model.query,
        params["dense"]["query"],
        {"id": params["tables"]["query.id"]},
        None,
    )
    item = apply_tower(
        program.model.candidate,
        params["dense"]["candidate"],
        {"id": params["tables"]["candidate.id"]},
        None,
    )
    scores = query @ item.T / jnp.exp(program.log_temperature)
    count = program.negatives.easy_num * jnp.exp(program.easy.log_q)
    if program.negatives.in_batch:
        count = count + (BATCH - 1) * jnp.asarray(COUNTS / COUNTS.sum(), jnp.float32)
    log_n = jnp.log(count)
    negatives, positive = scores[users[:, None], draws], scores[users, items]
    if program.correct != "none":
        negatives = negatives - log_n[draws]
    if program.correct == "all":
        positive = positive - log_n[items]
    # Draws of the own item are left out.
    negatives = jnp.where(draws == items[:, None], -jnp.inf, negatives)
    logits = jnp.concatenate([positive[:, None], negatives], axis=1)
    return (jax.nn.logsumexp(logits, axis=1) - positive).mean()


@pytest.mark.parametrize("correct", quick(["none", "all", "negatives"], ["all"]))
@pytest.mark.parametrize("in_batch", [True, False])
def test_steps_equal_dense_autodiff_and_optax_adagrad(in_batch, correct):
    program, data = setup(negatives__in_batch=in_batch, loss__logq__correct=correct)
    state = init_state(program, jnp.float32(0.3))
    params, optimizer = state.params, optax.adagrad(0.05, 0.1, 1e-7)
    dense_state = optimizer.init(params)
    gradient = jax.jit(jax.value_and_grad(dense_loss), **CHEAP)
    for step, rows in enumerate(batches(2)):
        key = keys.stream(program.seed, "negatives.easy", step)
        drawn = np.asarray(sample(key, program.easy, (10,)))
        draws = negatives_of(program, ITEM[rows], drawn)
        want, grads = gradient(params, program, USER[rows], ITEM[rows], draws)
        updates, dense_state = optimizer.update(grads, dense_state)
        params = optax.apply_updates(params, updates)
        state, loss = STEP(program, data, state, jnp.asarray(rows))
        assert float(loss) == pytest.approx(float(want), rel=1e-5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), state.params, params
    )


def after(program, data, steps=6, per_dispatch=6):
    state = init_state(program, jnp.float32(0.3))
    rows = batches(steps)
    for start in range(0, steps, per_dispatch):
        some = np.zeros((per_dispatch, BATCH), np.int32)
        number = min(per_dispatch, steps - start)
        some[:number] = rows[start : start + number]
        state, losses = run_steps(program, data, state, some, np.int32(number))
    return state, np.asarray(losses)


def leaves(state):
    return [np.asarray(x) for x in jax.tree.leaves((state.params, state.opt_state))]


def assert_same_bits(first, second):
    for one, other in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_any_number_of_steps_per_dispatch_gives_the_same_bits():
    step = setup(merged_size=16)
    one = after(*step, per_dispatch=1)[0]
    assert_same_bits(one, after(*step, per_dispatch=4)[0])
    assert_same_bits(one, after(*step, per_dispatch=6)[0])


@pytest.mark.parametrize("mask", quick(["same_item", "none"], ["same_item"]))
@pytest.mark.parametrize("size", quick([10, 16, 26], [16]))
def test_merged_columns_train_like_separate_ones(size, mask):
    """10 never fits (full size is taken), 16 fits sometimes, 26 is every draw."""
    separate, loss = after(*setup(negatives__mask=mask), steps=3)
    merged, merged_loss = after(*setup(size, negatives__mask=mask), steps=3)
    np.testing.assert_allclose(merged_loss, loss, rtol=1e-5)
    for one, other in zip(leaves(merged), leaves(separate), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_easy_negatives_do_not_read_the_other_rows():
    """With in_batch off, a row's loss is the same in any batch."""
    program, data = setup(negatives__in_batch=False)
    state = init_state(program, jnp.float32(0.3))
    rows = batches(2)
    losses = []
    for batch in (rows[0], np.concatenate([rows[0][:8], rows[1][:8]]), rows[1]):
        losses.append(float(STEP(program, data, state, batch)[1]))
    halves = [
        float(STEP(program, data, state, half)[1])
        for half in (rows[0][:8], rows[1][:8])
    ]
    assert losses[1] == pytest.approx(np.mean(halves), rel=1e-6)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_arms_that_differ_in_numbers_share_one_program():
    before = run_steps._cache_size()
    arms = (
        {},
        {"seed": 1},
        {"negatives__easy__alpha": 0.25},
        {"optimizer__learning_rate": 0.01},
        {"loss__temperature": 0.3},
        {"positives__strategy": "power", "positives__exponent": 0.5},
    )
    finals = [after(*setup(negatives__easy__num=11, **arm))[1][-1] for arm in arms]
    assert run_steps._cache_size() == before + 1
    assert len(set(finals)) == len(arms)


def test_full_softmax_reads_the_whole_catalogue():
    program, data = setup(loss__name="full_softmax")
    state = init_state(program, jnp.float32(0.3))
    rows = batches(1)[0]
    _, loss = STEP(program, data, state, rows)
    query = apply_tower(
        program.model.query,
        state.params["dense"]["query"],
        {"id": state.params["tables"]["query.id"]},
        None,
    )
    item = apply_tower(
        program.model.candidate,
        state.params["dense"]["candidate"],
        {"id": state.params["tables"]["candidate.id"]},
        None,
    )
    scores = np.asarray(query @ item.T, float)[USER[rows]] / 0.1
    want = np.log(np.exp(scores).sum(1)) - scores[np.arange(BATCH), ITEM[rows]]
    assert float(loss) == pytest.approx(want.mean(), rel=1e-5)


def test_the_learning_rate_falls_linearly_to_zero():
    """With plain SGD a step's change is the rate times the gradient."""
    program, data = setup(optimizer__name="sgd", negatives__easy__num=0)
    program = replace(program, decay_steps=jnp.float32(4))
    start = init_state(program, jnp.float32(0.3))
    rows = batches(1)[0]
    changes = []
    for step in (0, 1, 3, 4):
        state = start._replace(step=jnp.int32(step))
        new, _ = STEP(program, data, state, jnp.asarray(rows))
        moved = jax.tree.map(lambda a, b: a - b, new.params, start.params)
        changes.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(moved)]))
    assert np.abs(changes[0]).max() > 1e-4
    np.testing.assert_allclose(changes[1], 0.75 * changes[0], rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(changes[2], 0.25 * changes[0], rtol=1e-2, atol=1e-6)
    assert (changes[3] == 0).all()
