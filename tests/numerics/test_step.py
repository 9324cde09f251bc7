"""A whole step against dense autodiff of the definition, and its invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twotower_jax import keys
from twotower_jax.data.feed import Entities, Queries, TrainData
from twotower_jax.optim import OptimizerNumbers
from twotower_jax.sampling.mixture import log_frequency
from twotower_jax.sampling.proposals import make_proposal, sample
from twotower_jax.towers.embeddings import FeatureSpec
from twotower_jax.towers.tower import TowerSpec, make_tower
from twotower_jax.training.model import Model
from twotower_jax.training.step import (
    Hyper,
    Structure,
    init_state,
    run_steps,
    train_step,
)

USERS, ITEMS, BATCH, DIM = 30, 40, 16, 6
WEIGHTS = 1 / np.arange(1, ITEMS + 1)
USER = np.random.default_rng(0).integers(0, USERS, 400).astype(np.int32)
ITEM = (
    np.random.default_rng(0)
    .choice(ITEMS, 400, p=WEIGHTS / WEIGHTS.sum())
    .astype(np.int32)
)
COUNTS = np.bincount(ITEM, minlength=ITEMS)


def make_structure(**changes):
    tower = {
        size: TowerSpec((FeatureSpec("id", "id", size),), DIM, (8,), True)
        for size in (USERS, ITEMS)
    }
    defaults = Structure(
        model=Model(tower[USERS], tower[ITEMS], 5),
        loss="sampled_softmax",
        in_batch=True,
        easy_num=10,
        mask="same_item",
        correct="all",
        optimizer="adagrad",
        learn_temperature=False,
        merged_size=0,
        num_items=ITEMS,
    )
    return defaults._replace(**changes)


def make_hyper(seed=0, alpha=0.75, learning_rate=0.05, temperature=0.1):
    numbers = (learning_rate, 0.1, 1e-7, 0.9, 0.999, 0.0)
    return Hyper(
        seed=jnp.uint32(seed),
        log_temperature=jnp.log(jnp.float32(temperature)),
        log_q_batch=jnp.asarray(log_frequency(COUNTS)),
        easy=make_proposal("popularity", COUNTS, alpha=alpha),
        optimizer=OptimizerNumbers(*map(jnp.float32, numbers)),
        decay_steps=jnp.float32(0),
    )


def make_data():
    return TrainData(
        Queries(jnp.asarray(USER), None, None),
        jnp.asarray(ITEM),
        Entities({}, {}, None),
    )


def batches(number):
    return (
        np.random.default_rng(1).permutation(400)[: number * BATCH].reshape(number, -1)
    )


def dense_loss(params, structure, hyper, users, items, drawn):
    """Return the mean loss by loops over the rows, on whole tables."""
    query = make_tower(structure.model.query).apply(
        params["dense"]["query"], {"id": params["tables"]["query.id"]}, None
    )
    item = make_tower(structure.model.candidate).apply(
        params["dense"]["candidate"], {"id": params["tables"]["candidate.id"]}, None
    )
    scores = query @ item.T / jnp.exp(hyper.log_temperature)
    count = structure.easy_num * np.exp(np.asarray(hyper.easy.log_q, float))
    if structure.in_batch:
        count = count + (BATCH - 1) * COUNTS / COUNTS.sum()
    log_n = jnp.log(jnp.asarray(count, jnp.float32))
    losses = []
    for row in range(BATCH):
        s, p = scores[users[row]], items[row]
        others = [items[o] for o in range(BATCH) if structure.in_batch and o != row]
        draws = np.array([d for d in [*others, *drawn] if d != p], int)
        negatives = s[draws]
        positive = s[p]
        if structure.correct != "none":
            negatives = negatives - log_n[draws]
        if structure.correct == "all":
            positive = positive - log_n[p]
        logits = jnp.concatenate([positive[None], negatives])
        losses.append(jax.nn.logsumexp(logits) - positive)
    return jnp.stack(losses).mean()


@pytest.mark.parametrize("correct", ["none", "all", "negatives"])
@pytest.mark.parametrize("in_batch", [True, False])
def test_steps_equal_dense_autodiff_and_optax_adagrad(in_batch, correct):
    structure = make_structure(in_batch=in_batch, correct=correct)
    hyper, data = make_hyper(), make_data()
    state = init_state(structure, hyper, jnp.float32(0.3))
    params, optimizer = state.params, optax.adagrad(0.05, 0.1, 1e-7)
    dense_state = optimizer.init(params)
    for step, rows in enumerate(batches(2)):
        key = keys.stream(hyper.seed, "negatives.easy", step)
        drawn = np.asarray(sample(key, hyper.easy, (10,)))
        want, grads = jax.value_and_grad(dense_loss)(
            params, structure, hyper, USER[rows], ITEM[rows], drawn
        )
        updates, dense_state = optimizer.update(grads, dense_state)
        params = optax.apply_updates(params, updates)
        state, loss = train_step(structure, hyper, data, state, jnp.asarray(rows))
        assert float(loss) == pytest.approx(float(want), rel=1e-5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), state.params, params
    )


def after(structure, hyper, steps=6, per_dispatch=6):
    state = init_state(structure, hyper, jnp.float32(0.3))
    rows = batches(steps)
    for start in range(0, steps, per_dispatch):
        some = np.zeros((per_dispatch, BATCH), np.int32)
        number = min(per_dispatch, steps - start)
        some[:number] = rows[start : start + number]
        state, losses = run_steps(
            structure, hyper, make_data(), state, some, np.int32(number)
        )
    return state, np.asarray(losses)


def leaves(state):
    return [np.asarray(x) for x in jax.tree.leaves((state.params, state.opt_state))]


def assert_same_bits(first, second):
    for one, other in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_any_number_of_steps_per_dispatch_gives_the_same_bits():
    structure, hyper = make_structure(merged_size=16), make_hyper()
    one = after(structure, hyper, per_dispatch=1)[0]
    assert_same_bits(one, after(structure, hyper, per_dispatch=4)[0])
    assert_same_bits(one, after(structure, hyper, per_dispatch=6)[0])


@pytest.mark.parametrize("mask", ["same_item", "none"])
@pytest.mark.parametrize("size", [10, 16, 26])
def test_merged_columns_train_like_separate_ones(size, mask):
    """10 never fits (full size is taken), 16 fits sometimes, 26 is every draw."""
    hyper = make_hyper()
    separate, loss = after(make_structure(mask=mask), hyper, steps=3)
    merged_structure = make_structure(mask=mask, merged_size=size)
    merged, merged_loss = after(merged_structure, hyper, steps=3)
    np.testing.assert_allclose(merged_loss, loss, rtol=1e-5)
    for one, other in zip(leaves(merged), leaves(separate), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_easy_negatives_do_not_read_the_other_rows():
    """With in_batch off, a row's loss is the same in any batch."""
    structure, hyper = make_structure(in_batch=False), make_hyper()
    state = init_state(structure, hyper, jnp.float32(0.3))
    rows = batches(2)
    losses = []
    for batch in (rows[0], np.concatenate([rows[0][:8], rows[1][:8]]), rows[1]):
        losses.append(float(train_step(structure, hyper, make_data(), state, batch)[1]))
    halves = [
        float(train_step(structure, hyper, make_data(), state, half)[1])
        for half in (rows[0][:8], rows[1][:8])
    ]
    assert losses[1] == pytest.approx(np.mean(halves), rel=1e-6)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_arms_that_differ_in_numbers_share_one_program():
    structure = make_structure(easy_num=11)
    before = run_steps._cache_size()
    finals = [
        after(structure, make_hyper(seed, alpha, rate, temperature))[1][-1]
        for seed, alpha, rate, temperature in (
            (0, 0.75, 0.05, 0.1),
            (1, 0.75, 0.05, 0.1),
            (0, 0.25, 0.05, 0.1),
            (0, 0.75, 0.01, 0.1),
            (0, 0.75, 0.05, 0.3),
        )
    ]
    assert run_steps._cache_size() == before + 1
    assert len(set(finals)) == 5


def test_learned_temperature_moves_and_a_fixed_one_is_no_parameter():
    fixed, _ = after(make_structure(), make_hyper())
    assert "log_temperature" not in fixed.params["dense"]
    learned, _ = after(make_structure(learn_temperature=True), make_hyper())
    start = float(make_hyper().log_temperature)
    assert abs(float(learned.params["dense"]["log_temperature"]) - start) > 0.01


def test_full_softmax_reads_the_whole_catalogue():
    structure, hyper = make_structure(loss="full_softmax", easy_num=0), make_hyper()
    state = init_state(structure, hyper, jnp.float32(0.3))
    rows = batches(1)[0]
    _, loss = train_step(structure, hyper, make_data(), state, rows)
    query = make_tower(structure.model.query).apply(
        state.params["dense"]["query"], {"id": state.params["tables"]["query.id"]}, None
    )
    item = make_tower(structure.model.candidate).apply(
        state.params["dense"]["candidate"],
        {"id": state.params["tables"]["candidate.id"]},
        None,
    )
    scores = np.asarray(query @ item.T, float)[USER[rows]] / 0.1
    want = np.log(np.exp(scores).sum(1)) - scores[np.arange(BATCH), ITEM[rows]]
    assert float(loss) == pytest.approx(want.mean(), rel=1e-5)


def test_the_learning_rate_falls_linearly_to_zero():
    """With plain SGD a step's change is the rate times the gradient."""
    structure, data = make_structure(optimizer="sgd"), make_data()
    hyper = make_hyper()._replace(decay_steps=jnp.float32(4))
    start = init_state(structure, hyper, jnp.float32(0.3))
    rows = batches(1)[0]
    changes = []
    for step in (0, 1, 3, 4):
        state = start._replace(step=jnp.int32(step))
        new, _ = train_step(
            structure._replace(easy_num=0), hyper, data, state, jnp.asarray(rows)
        )
        moved = jax.tree.map(lambda a, b: a - b, new.params, start.params)
        changes.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(moved)]))
    assert np.abs(changes[0]).max() > 1e-4
    np.testing.assert_allclose(changes[1], 0.75 * changes[0], rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(changes[2], 0.25 * changes[0], rtol=1e-2, atol=1e-6)
    assert (changes[3] == 0).all()
