"""The scores that a model learns from clicks that do not depend on the user.

100 items of Zipf popularity, 10 users with the same 2,000 clicks each, so that the
truth is known without noise: P(i|u) = P(i). The real step trains, and the scores that
it learned (cosine over temperature, mean over users) are regressed on log P by
`scipy.stats.linregress`. A corrected softmax has to learn log P with slope 1 whatever
drew its negatives, an uncorrected one learns log P - log q of the proposal.

Slopes and 95 % intervals on the machine where this was written:

    in-batch, correct=all, mask=none          1.0001 +- 0.0001 (also at temperature 0.2)
    in-batch, correct=negatives               1.0003 +- 0.0004 (also at temperature 0.2)
    in-batch, correct=none, mask=none         0.0005 +- 0.0053
    uniform, correct=none, mask=none          1.0041 +- 0.0154
    popularity^.75, correct=none, mask=none   0.2606 +- 0.0149
    in-batch, correct=all, mask=same_item     1.0222 +- 0.0044 (see the last test)
"""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.problems import as_loaded, small_problem
from helpers.quick import quick
from scipy import stats

from twotower_jax.data.feed import make_queries
from twotower_jax.model.two_tower import all_candidates, all_queries
from twotower_jax.training.step import init_state, run_steps

USERS, ITEMS, BATCH, STEPS = 10, 100, 128, 1_000
SHARE = 1 / np.arange(1, ITEMS + 1)
CLICKS = np.round(2_000 * SHARE / SHARE.sum()).astype(int)  # of each user
DATA = as_loaded(
    np.repeat(np.arange(USERS), CLICKS.sum()),
    np.tile(np.repeat(np.arange(ITEMS), CLICKS), USERS),
    USERS,
    ITEMS,
)
P = CLICKS / CLICKS.sum()
LOG_P = np.log(P)
EASY = {"negatives__in_batch": False, "negatives__easy__num": 100}


def problem_of(**keys):
    defaults = {
        "towers__dim": 4,
        "towers__hidden": (),
        "training__batch_size": BATCH,
        "training__steps": STEPS,
        "optimizer__learning_rate": 0.2,
        "optimizer__decay": True,
    }
    return small_problem(DATA, **(defaults | keys))


START = problem_of().program  # the same start for every problem


def learned(**keys):
    """Return learned scores of the items: mean over users of cosine / temperature."""
    problem = problem_of(**keys)
    program, scale = problem.program, jnp.float32(problem.init_scale)
    state = init_state(START, scale)
    rows = problem.order.batches(0, STEPS)
    state, losses = run_steps(program, problem.data, state, rows, np.int32(STEPS))
    assert np.mean(losses[-100:]) < np.mean(losses[:10]) - 0.1
    users = make_queries(np.arange(USERS, dtype=np.int32), None)
    model, entities = program.model, problem.data.entities
    queries = np.asarray(all_queries(model, state.params, entities, users), float)
    items = np.asarray(all_candidates(model, state.params, entities, ITEMS), float)
    temperature = float(jnp.exp(program.log_temperature))
    return (queries @ items.T).mean(axis=0) / temperature


def slope_of(scores, on=LOG_P):
    """Return the slope of scores and half the width of its 95 % interval."""
    fit = stats.linregress(on, scores)
    return fit.slope, stats.t.ppf(0.975, ITEMS - 2) * fit.stderr


def assert_slope(scores, want, on=LOG_P):
    """The interval holds the slope, up to the error that an optimizer leaves."""
    slope, half = slope_of(scores, on)
    assert half < 0.02
    assert slope == pytest.approx(want, abs=max(half, 0.005))


# Pairs of a correction and a mask whose optimum is exactly log P in batches of any size
# (the last test has one that is not).
EXACT = {
    "all": {"loss__logq__correct": "all", "negatives__mask": "none"},
    "negatives": {"loss__logq__correct": "negatives"},
}


@pytest.mark.parametrize("correct", quick(EXACT, ["negatives"]))
def test_corrected_in_batch_negatives_learn_log_popularity(correct):
    """At 0.1 and at 0.2: a temperature is a unit of scores, the optimum stays."""
    warm = learned(loss__temperature=0.1, **EXACT[correct])
    hot = learned(loss__temperature=0.2, **EXACT[correct])
    assert_slope(warm, 1)
    assert_slope(hot, 1)
    np.testing.assert_allclose(warm - warm.mean(), hot - hot.mean(), atol=0.03)
    np.testing.assert_allclose(warm - warm.mean(), LOG_P - LOG_P.mean(), atol=0.03)


def test_uncorrected_in_batch_negatives_learn_nothing_of_popularity():
    """Popular items are pushed down by all of log q+, which here is log P itself."""
    scores = learned(loss__logq__correct="none", negatives__mask="none")
    assert_slope(scores, 0)


def test_easy_negatives_without_correction_learn_log_p_minus_log_q():
    """Uniform: slope 1. Of popularity^.75: a quarter of log P is left."""
    keys = EASY | {"loss__logq__correct": "none", "negatives__mask": "none"}
    assert_slope(learned(**keys), 1)
    scores = learned(negatives__easy__sampler="popularity", **keys)
    log_q = 0.75 * np.log(USERS * CLICKS + 1)
    assert_slope(scores + log_q, 1)
    assert slope_of(scores)[0] == pytest.approx(0.25, abs=0.03)


def masked_optimum(count):
    """Return log pi that the softmax with correction of every logit leads to.

    The positive has e^s / N against the other items' sum of e^s where draws equal to it
    are masked. Where the gradient is 0, with r_j = (pi_j / N_j) / (pi_j / N_j + 1 -
    pi_j): P_j (1 - r_j) = A pi_j (1 - pi_j). At N = 1 this is pi = P.
    """
    pi = P.copy()
    for _ in range(2_000):
        own = pi / count
        pi_new = P * (1 - own / (own + 1 - pi)) / (1 - pi)
        pi = 0.5 * pi + 0.5 * pi_new / pi_new.sum()
    return np.log(pi)


@pytest.mark.slow
def test_masked_repeats_of_the_positive_lift_items_of_many_a_batch():
    """With every logit corrected, and repeats of the positive masked as is usual.

    The most popular item is 25 times in a batch of 128, and its positive is divided by
    25 though the row has it once: it learns log P + 0.26, as the theory predicts.
    """
    scores = learned(loss__logq__correct="all", negatives__mask="same_item")
    want = masked_optimum((BATCH - 1) * P)
    lift = (scores - LOG_P) - (scores - LOG_P)[50:].mean()
    np.testing.assert_allclose(
        lift, want - LOG_P - (want - LOG_P)[50:].mean(), atol=0.03
    )
    assert lift[0] == pytest.approx(0.26, abs=0.03)
    assert_slope(scores, 1, want)
    np.testing.assert_allclose(masked_optimum(np.ones(ITEMS)), LOG_P, atol=1e-6)
