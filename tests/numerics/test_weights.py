"""Weighted positives: the loss -(1/B) sum r_i log P, its optimum and its extremes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import configure, small_problem
from helpers.source_steps import (
    BATCH,
    CLICKS,
    DATA,
    ITEM,
    SGD,
    TEMPERATURE,
    USER,
    batches_of,
    go,
    start,
    vectors,
)

from twotower_jax.cards.arm import small_arm, small_config
from twotower_jax.cards.optimum import find_optimum
from twotower_jax.cards.world import retrieved_items, world_of, zipf_counts
from twotower_jax.errors import InputError
from twotower_jax.run.problem import make_problem

RNG = np.random.default_rng(3)
WEIGHT = np.where(RNG.random(CLICKS) < 0.2, 0, RNG.gamma(2, 30, CLICKS))


def weighted(weight=WEIGHT, data=DATA):
    """Return data with weights of its training positives."""
    train = replace(data.split.train, weight=np.asarray(weight, float))
    return data._replace(split=replace(data.split, train=train))


def problem_of(weight=WEIGHT, **keys):
    keys = SGD | {"positives__weight": "grade"} | keys
    return small_problem(weighted(weight), **keys)


def slow_losses(tables, rows):
    """Return -log P of each row among its batch in float64, corrected by counts."""
    with jax.enable_x64(True):
        query, item = (np.asarray(part, np.float64) for part in vectors(tables))
    counts = np.bincount(ITEM, minlength=len(item)) / CLICKS
    log_n = np.log((len(rows) - 1) * counts[ITEM[rows]])
    scores = query[USER[rows]] @ item[ITEM[rows]].T / TEMPERATURE - log_n
    other = ITEM[rows][:, None] != ITEM[rows][None, :]
    keep = other | np.eye(len(rows), dtype=bool)
    total = np.log(np.where(keep, np.exp(scores), 0).sum(axis=1))
    return total - np.diag(scores)


def test_the_loss_of_a_batch_is_the_sum_of_weighted_losses_over_its_size():
    problem = problem_of()
    state, (rows,) = start(problem), batches_of(problem, 1)
    _, losses = go(problem, state, rows)
    each = slow_losses(state.params["tables"], rows)
    want = (WEIGHT[rows] / WEIGHT.mean() * each).sum() / BATCH
    assert float(losses[0]) == pytest.approx(want, rel=1e-5)
    assert abs(want - each.mean()) > 0.05


def test_gradients_are_those_of_the_weighted_loss():
    """An SGD step with weights is the weighted mean of steps of the single rows."""
    problem, plain = problem_of(), small_problem(DATA, **SGD)
    (rows,) = batches_of(problem, 1)
    state = start(problem)
    after, _ = go(problem, state, rows)
    share = WEIGHT[rows] / WEIGHT.mean() / BATCH

    def moved(weight):
        alone = np.zeros(CLICKS)
        alone[rows] = weight
        alone[rows[0]] += 1e-30
        data = plain.data._replace(weight=jnp.asarray(alone * BATCH, jnp.float32))
        one, _ = go(plain._replace(data=data), state, rows)
        return np.asarray(one.params["tables"]["candidate.id"])

    before = np.asarray(state.params["tables"]["candidate.id"])
    whole = sum(
        share[place] * (moved(np.eye(BATCH)[place]) - before) for place in range(BATCH)
    )
    now = np.asarray(after.params["tables"]["candidate.id"]) - before
    np.testing.assert_allclose(now, whole, atol=2e-7)


def test_the_unit_of_the_column_does_not_matter():
    one, other = problem_of(WEIGHT), problem_of(1000 * WEIGHT)
    np.testing.assert_allclose(one.data.weight, other.data.weight, rtol=1e-6)
    assert float(one.data.weight.mean()) == pytest.approx(1, rel=1e-6)


def test_equal_weights_are_no_weights():
    problem, plain = problem_of(np.full(CLICKS, 7.0)), small_problem(DATA, **SGD)
    rows = batches_of(plain, 3)
    state, losses = go(problem, start(problem), rows)
    same, plain_losses = go(plain, start(plain), rows)
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-6)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6),
        state.params,
        same.params,
    )


def test_a_batch_without_weight_is_finite_and_changes_nothing():
    problem = problem_of(optimizer__l2=0.1)
    rows = np.flatnonzero(WEIGHT == 0)[:BATCH]
    state = start(problem)
    before = jax.tree.map(np.asarray, state.params)
    after, losses = go(problem, state, rows)
    assert float(losses[0]) == 0
    jax.tree.map(np.testing.assert_array_equal, before, after.params)


def test_weights_and_reweighting_have_the_mean_one_over_an_epoch():
    keys = {
        "positives__strategy": "downsample_hot",
        "positives__exponent": 1.0,
        "training__batch_size": 8,
    }
    problem = problem_of(**keys, positives__reweight=True)
    copies = problem.weights[ITEM]
    weight = np.asarray(problem.data.weight, float)
    assert copies.min() < 0.5
    assert copies @ weight / copies.sum() == pytest.approx(1, rel=1e-6)
    kept = WEIGHT > 0
    ratio = weight[kept] * copies[kept] / WEIGHT[kept]
    assert np.ptp(ratio) < 1e-5 * ratio.mean()
    plain = np.asarray(problem_of(**keys).data.weight, float)
    ratio = plain[kept] / WEIGHT[kept]
    assert np.ptp(ratio) < 1e-5 * ratio.mean()


def test_all_zero_is_refused_with_key_value_and_remedy():
    with pytest.raises(
        InputError, match="positives.weight=grade is 0 for each of the 4"
    ):
        problem_of(np.zeros(CLICKS))


def test_data_that_was_read_without_the_column_is_refused():
    with pytest.raises(InputError, match="positives.weight=grade .* read without it"):
        small_problem(DATA, **SGD, positives__weight="grade")


def test_the_optimum_is_log_p_plus_the_log_of_the_items_mean_weight():
    counts = zipf_counts(60, 2, 2048)
    world = world_of(counts, retrieved_items(counts))
    of_item = RNG.gamma(2, 1, 60)
    # Half of an item's positives have no weight, the others twice the mean.
    order = np.argsort(world.loaded.split.train.item, kind="stable")
    half = np.empty(len(order))
    half[order] = 2 * (np.arange(len(order)) % 2)
    item = world.loaded.split.train.item
    weight = of_item[item] * half
    loaded = weighted(weight, world.loaded)
    keys = {
        "positives__weight": "grade",
        "training__batch_size": 256,
        "negatives__in_batch": False,
        "negatives__easy__num": 512,
        "negatives__mask": "none",
    }
    config = replace(
        small_config(configure(**keys), world),
        positives=configure(**keys).positives,
    )
    problem = make_problem(config, loaded)
    scores = find_optimum(problem, world._replace(loaded=loaded)).scores
    target = np.zeros(world.probability.shape)
    kind = world.type_of_user[loaded.split.train.user]
    np.add.at(target, (kind, item), weight)
    known = target > 0
    gap = np.where(known, scores - np.log(np.where(known, target, 1)), np.nan)
    gap -= np.nanmean(gap, axis=1, keepdims=True)
    assert np.nanmean(np.abs(gap)) < 0.05
    assert np.nanmean(np.abs(scores - np.log(world.probability))) > 0.3


def test_the_audit_says_that_it_has_no_such_column():
    arm = small_arm(configure(positives__weight="grade"))
    assert "positives.weight=grade, here null" in arm.scaled
