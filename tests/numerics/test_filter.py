"""The filter of likely false negatives: keep negative j iff s_j < gamma s_p."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import configure, with_program
from helpers.quick import quick
from helpers.source_steps import (
    BATCH,
    HARD,
    ITEM,
    ITEMS,
    NO_BANK,
    TEMPERATURE,
    USER,
    batches_of,
    go,
    listed,
    log_of,
    one_by_one,
    problem_of,
    reference,
    start,
    vectors,
)

from twotower_jax.cards.arm import small_arm
from twotower_jax.data.log import Pairs, Split
from twotower_jax.errors import InputError
from twotower_jax.negatives.masks import ScoreFilter
from twotower_jax.run.checks import check_use

GAMMA = 0.8
FILTER = {"negatives__filter__gamma": GAMMA, "negatives__filter__warmup": 0}
EASY = {"negatives__easy__num": 24}


def cosines(state, rows, ids):
    """Return scores of the positives [B] and of the negatives [B, n], in float64."""
    query, item = vectors(state.params["tables"])
    query, item = np.asarray(query, np.float64), np.asarray(item, np.float64)
    own = query[USER[rows]]
    positive = (own * item[ITEM[rows]]).sum(axis=1)
    return positive, np.einsum("bd,bnd->bn", own, item[ids.clip(0, ITEMS - 1)])


@functools.cache
def trained_once():
    plain = problem_of(**EASY, **HARD, optimizer__learning_rate=0.5)
    return go(plain, start(plain), batches_of(plain, 30))[0]


def trained(problem):
    """Return a state in which positives score above most negatives."""
    # A copy: the step takes its arrays.
    state = jax.tree.map(jnp.copy, trained_once())
    return state._replace(samplers=start(problem).samplers)


@pytest.mark.parametrize("correct", quick(["none", "all"], ["all"]))
def test_the_loss_and_its_gradient_are_those_without_the_filtered_negatives(correct):
    """Columns and slots, against the reference with another list of negatives."""
    keys = EASY | HARD | {"loss__logq__correct": correct, "negatives__in_batch": False}
    keys |= {"negatives__hard__log_q": "easy"}
    problem = problem_of(**keys, **FILTER)
    state, (rows,) = trained(problem), batches_of(problem, 1, 40)
    ids, keep, _ = listed(problem, state, rows)
    positive, scores = cosines(state, rows, ids)
    kept = keep & (scores < GAMMA * positive[:, None])
    assert 0.05 < 1 - kept.sum() / keep.sum() < 0.9
    assert not kept[:, -3:].all() and kept[:, -3:].any()
    each = np.full(ITEMS, (24 + 3) / ITEMS)
    log_n = log_of(each) if correct == "all" else np.zeros(ITEMS, np.float32)
    arguments = (
        rows,
        ids,
        kept,
        log_n[ids.clip(0, ITEMS - 1)],
        log_n[ITEM[rows]],
        NO_BANK,
    )
    tables = state.params["tables"]
    want, gradient = jax.value_and_grad(reference)(tables, *arguments)
    after, losses = go(problem, state, rows)
    assert float(losses[0]) == pytest.approx(float(want), rel=1e-5)
    for name, table in after.params["tables"].items():
        moved = (
            tables[name] - problem.program.optimizer.learning_rate * (gradient[name])
        )
        np.testing.assert_allclose(table, moved, atol=2e-6)


@pytest.mark.parametrize(
    "loss",
    quick(["sampled_softmax", "full_softmax", "bce"], ["sampled_softmax"]),
)
def test_a_loss_ignores_filtered_negatives_and_stays_finite(loss):
    """Another embedding of an item above the limit changes nothing, if it stays so."""
    problem = problem_of(**EASY, loss__name=loss, **FILTER)
    state, (rows,) = trained(problem), batches_of(problem, 1, 40)
    everything = np.tile(np.arange(ITEMS), (BATCH, 1))
    positive, scores = cosines(state, rows, everything)
    # One row alone, so that an item has one score.
    number = (scores >= GAMMA * positive[:, None]).sum(axis=1)
    rows = np.full(BATCH, rows[np.argmax(np.where(positive > 0.2, number, 0))])
    positive, scores = cosines(state, rows, everything)
    above = np.flatnonzero(scores[0] >= GAMMA * positive[0])
    above = above[above != ITEM[rows[0]]]
    assert len(above)
    table = np.array(state.params["tables"]["candidate.id"])
    query = np.asarray(vectors(state.params["tables"])[0])[USER[rows[0]]]
    table[above] = table[above] + 3 * np.linalg.norm(table[above[0]]) * query
    tables = state.params["tables"] | {"candidate.id": jnp.asarray(table)}
    moved = state._replace(params=state.params | {"tables": tables})
    losses = [float(go(problem, one, rows)[1][0]) for one in (state, moved)]
    assert np.isfinite(losses).all()
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    plain = problem_of(**EASY, loss__name=loss)
    assert abs(float(go(plain, moved, rows)[1][0]) - losses[1]) > 1e-3


@pytest.mark.parametrize(
    "loss", quick(["sampled_softmax", "gbce", "hinge"], ["sampled_softmax"])
)
def test_a_row_whose_negatives_are_all_filtered_is_finite(loss):
    problem = problem_of(**EASY, **HARD, **FILTER, loss__name=loss)
    none = ScoreFilter(jnp.float32(-1e6), jnp.int32(0))
    problem = with_program(problem, filters=(none,))
    state, rows = trained(problem), batches_of(problem, 2, 40)
    positive, _ = cosines(state, rows[0], np.zeros((BATCH, 1), int))
    assert (positive > 0).sum() > BATCH / 2
    states, losses = one_by_one(problem, state, rows)
    assert np.isfinite(losses).all()
    jax.tree.map(lambda x: np.testing.assert_(np.isfinite(x).all()), states[-1].params)
    if loss != "gbce":
        some = rows[0][positive > 0][:1].repeat(BATCH)
        assert float(go(problem, state, some)[1][0]) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_temperature_and_correction_do_not_decide_what_is_kept():
    """Another temperature, or none subtracted: the same negatives are in the sum."""
    for keys in ({"loss__temperature": 0.02}, {"loss__logq__correct": "none"}):
        problem = problem_of(**EASY, **FILTER, negatives__in_batch=False, **keys)
        state, (rows,) = trained(problem), batches_of(problem, 1, 40)
        ids, keep, _ = listed(problem, state, rows)
        positive, scores = cosines(state, rows, ids)
        kept = keep & (scores < GAMMA * positive[:, None])
        ratio = TEMPERATURE / keys.get("loss__temperature", TEMPERATURE)
        log_n = np.log(24 / ITEMS) if "loss__temperature" in keys else 0
        logits = np.where(kept, ratio * scores / TEMPERATURE - log_n, -np.inf)
        own = ratio * positive / TEMPERATURE - log_n
        every = np.concatenate([own[:, None], logits], axis=1)
        want = (np.logaddexp.reduce(every, axis=1) - own).mean()
        got = float(go(problem, state, rows)[1][0])
        assert got == pytest.approx(want, rel=1e-3)


def test_nothing_is_filtered_in_the_warm_up():
    keys = EASY | {"negatives__filter__gamma": 0.1, "training__steps": 10}
    problem, plain = (
        problem_of(**keys, negatives__filter__warmup=0.4),
        problem_of(**EASY),
    )
    rows = batches_of(problem, 6)
    _, losses = one_by_one(problem, start(problem), rows)
    _, all_kept = one_by_one(plain, start(plain), rows)
    np.testing.assert_allclose(losses[:4], all_kept[:4], rtol=1e-6)
    assert abs(losses[4] - all_kept[4]) > 0.1


def test_dynamic_negatives_are_the_best_of_those_below_the_limit():
    keys = {
        "negatives__in_batch": False,
        "negatives__easy__num": 4,
        "negatives__hard__source": "dns",
        "negatives__hard__num": 4,
        "negatives__hard__log_q": "easy",
    }
    problem = problem_of(**keys, **FILTER)
    state, (rows,) = trained(problem), batches_of(problem, 1, 40)
    after, losses = go(problem, state, rows)
    assert np.isfinite(losses).all()
    # Chosen first and filtered then, most slots would be lost.
    lost = float(after.samplers["lost_slots"]) * (int(state.step) + 1)
    assert lost < 0.3


def test_a_warm_up_that_ends_with_the_training_is_refused():
    pairs = Pairs(USER.astype(np.int32), ITEM.astype(np.int32))
    keys = {"training__steps": 4, "training__patience": 0, "training__batch_size": 16}
    config = configure(
        negatives__filter__gamma=0.9, negatives__filter__warmup=0.99, **keys
    )
    with pytest.raises(
        InputError, match=r"filter.warmup=0.99 leaves none of the 4 ste"
    ):
        check_use(config, Split(pairs, pairs, pairs))


def test_the_audit_says_that_it_filters_nothing():
    arm = small_arm(configure(negatives__filter__gamma=0.9))
    assert "negatives.filter.gamma=0.9, here null" in arm.scaled
