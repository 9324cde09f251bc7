"""Dynamic negatives: the chance of being picked, the k best columns, rank windows."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.quick import quick
from scipy import stats

from twotower_jax.losses import logits
from twotower_jax.negatives import dns
from twotower_jax.negatives.easy import make_proposal, sample
from twotower_jax.negatives.mined import window

ITEMS = 1_000
COUNTS = (10_000 / np.arange(1, ITEMS + 1)).astype(int)
log_prob = jax.jit(dns.dns_log_prob)


@partial(jax.jit, static_argnames="candidate_num")
def pick(key, scores, proposal, candidate_num) -> jax.Array:
    """Return a million items picked by dynamic negative sampling, by doing it."""
    drawn = sample(key, proposal, (1_000_000, candidate_num))
    best = dns.best_of(scores[drawn])
    return jnp.take_along_axis(drawn, best[:, None], axis=1)[:, 0]


def fit(observed: np.ndarray, log_p) -> float:
    """Return the p-value of the chi-square test, small cells put together."""
    expected = observed.sum() * np.exp(np.asarray(log_p, float))
    order = np.argsort(expected)
    cell = np.cumsum(expected[order]) // 20  # cells of at least about 20 picks
    cell = np.unique(cell, return_inverse=True)[1]
    seen = np.bincount(cell, observed[order])
    want = np.bincount(cell, expected[order])
    return float(stats.chisquare(seen, want * seen.sum() / want.sum()).pvalue)


@pytest.mark.parametrize("ties", quick([False, True], [True]))
@pytest.mark.parametrize("candidate_num", quick([2, 8], [8]))
def test_picks_fit_the_log_probability(candidate_num, ties, key):
    """A million real picks; with ties only 30 different scores for 1,000 items."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 30, ITEMS) if ties else rng.normal(size=ITEMS)
    scores = jnp.asarray(scores, jnp.float32)
    proposal = make_proposal("popularity", COUNTS, alpha=0.75)
    got = log_prob(scores, proposal.log_q, candidate_num)
    picked = pick(key, scores, proposal, candidate_num)
    observed = np.bincount(np.asarray(picked), minlength=ITEMS)
    assert fit(observed, got) > 0.001
    wrong = log_prob(scores, proposal.log_q, candidate_num + 1)
    assert fit(observed, wrong) < 1e-6
    wrong = log_prob(scores, make_proposal("uniform", COUNTS).log_q, candidate_num)
    assert fit(observed, wrong) < 1e-6


@pytest.mark.parametrize("candidate_num", [1, 2, 3, 5])
def test_every_outcome_enumerated(candidate_num):
    """All draws of 5 items with two ties, each with its probability: no noise."""
    q = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
    scores = np.array([1.0, 2.0, 1.0, -3.0, 2.0])
    want = np.zeros(5)
    for draws in itertools.product(range(5), repeat=candidate_num):
        first = draws[int(np.argmax(scores[list(draws)]))]
        want[first] += np.prod(q[list(draws)])
    got = log_prob(jnp.asarray(scores), jnp.log(jnp.asarray(q)), candidate_num)
    np.testing.assert_allclose(np.exp(got), want, rtol=2e-6)


@pytest.mark.parametrize("candidate_num", [1, 2, 8, 100])
def test_the_probabilities_of_each_row_sum_to_one(candidate_num):
    rng = np.random.default_rng(0)
    scores = np.stack([rng.normal(size=ITEMS), rng.integers(0, 9, ITEMS)])
    log_q = make_proposal("popularity", COUNTS).log_q
    got = log_prob(
        jnp.asarray(scores, jnp.float32).reshape(2, 1, -1), log_q, candidate_num
    )
    assert got.shape == (2, 1, ITEMS) and got.dtype == jnp.float32
    total = np.exp(np.asarray(got, float)).sum(-1)
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    rows = [log_prob(jnp.asarray(row), log_q, candidate_num) for row in scores]
    np.testing.assert_allclose(got[:, 0], np.stack(rows), rtol=1e-6)


def test_one_candidate_or_one_score_is_the_proposal():
    log_q = make_proposal("popularity", COUNTS).log_q
    scores = jnp.asarray(np.random.default_rng(0).normal(size=ITEMS), jnp.float32)
    np.testing.assert_allclose(log_prob(scores, log_q, 1), log_q, atol=1e-5)
    np.testing.assert_allclose(log_prob(scores * 0, log_q, 9), log_q, atol=1e-5)


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("candidate_num", [1, 2, 8, 64])
def test_tiny_probabilities_keep_their_digits(candidate_num, ascending):
    """q from 1e-30 to .9 against F^M - (F-)^M in whole numbers, without rounding."""
    weight = [10**power for power in range(31)]
    below = list(itertools.accumulate(weight if ascending else weight[::-1]))
    high = [x**candidate_num for x in below]
    want = [math.log(x - y) for x, y in zip(high, [0, *high], strict=False)]
    want = np.array(want) - math.log(high[-1])
    log_q = jnp.asarray(np.log(10) * np.arange(31) - math.log(below[-1]), jnp.float32)
    scores = jnp.arange(31.0) * (1 if ascending else -1)
    got = log_prob(scores, log_q, candidate_num)
    # log q itself is rounded to about 1e-6 near -70.
    tolerance = 1e-5 + 1e-6 * np.abs(want)
    assert (np.abs(got - (want if ascending else want[::-1])) < tolerance).all()


def test_an_item_below_the_smallest_float_has_a_finite_chance():
    """q = e^-200: the best item is picked with 8 q, the worst with q^8."""
    log_q = jnp.array([-200.0, 0.0])
    best = log_prob(jnp.array([1.0, 0.0]), log_q, 8)
    np.testing.assert_allclose(best, [np.log(8) - 200, 0], atol=1e-4)
    worst = log_prob(jnp.array([0.0, 1.0]), log_q, 8)
    np.testing.assert_allclose(worst, [-1600, 0], atol=1e-3)
    tied = log_prob(jnp.array([1.0, 1.0]), log_q, 8)
    np.testing.assert_allclose(tied, [-200, 0], atol=1e-4)


def test_an_item_that_is_never_drawn_is_never_picked():
    q = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    with np.errstate(divide="ignore"):
        log_q = jnp.asarray(np.log(q), jnp.float32)
    scores = jnp.array([0.0, 1.0, 1.0, 2.0, 3.0])
    got = np.exp(log_prob(scores, log_q, 3))
    np.testing.assert_allclose(got, [0, 1 / 8, 0, 7 / 8, 0], rtol=1e-6)
    nothing = log_prob(scores, jnp.full(5, -jnp.inf), 3)
    np.testing.assert_array_equal(nothing, -np.inf)


def test_no_gradient_passes_the_probability():
    log_q = jnp.log(jnp.array([0.2, 0.3, 0.5]))
    gradient = jax.grad(lambda s, q: log_prob(s, q, 4).sum(), argnums=(0, 1))
    for part in gradient(jnp.array([1.0, 2.0, 1.0]), log_q):
        np.testing.assert_array_equal(part, 0)


def test_best_of_takes_the_first_of_equals():
    scores = jnp.array([[[1.0, 3.0, 3.0], [0.0, -0.0, -1.0], [-jnp.inf] * 3]])
    got = dns.best_of(scores)
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, [[1, 0, 0]])


def slow_keep(scores: np.ndarray, k: int) -> np.ndarray:
    keep = np.zeros(scores.shape, bool)
    for row, values in enumerate(scores):
        order = sorted(range(len(values)), key=lambda c: (-values[c], c))
        for column in order[:k]:
            keep[row, column] = values[column] > -np.inf
    return keep


@pytest.mark.parametrize("k", [1, 3, 20, 50])
def test_keep_top_k_fits_numpy(k):
    rng = np.random.default_rng(k)
    scores = rng.normal(size=(40, 20)).astype(np.float32)
    scores[10:30] = rng.integers(-2, 2, (20, 20))  # many ties
    scores[20:] = np.where(rng.random((20, 20)) < 0.7, -np.inf, scores[20:])
    scores[39] = -np.inf
    scores[38, :6] = [-0.0, 0.0, -0.0, 0.0, -1.0, -jnp.inf]
    got = jax.jit(logits.keep_top_k, static_argnames="k")(scores, k=k)
    np.testing.assert_array_equal(got, slow_keep(scores, k))
    valid = (scores > -np.inf).sum(1)
    np.testing.assert_array_equal(np.asarray(got).sum(1), np.minimum(valid, k))


def test_minus_zero_equals_zero():
    scores = jnp.array([[-0.0, 0.0, -0.0, -1.0]])
    np.testing.assert_array_equal(logits.keep_top_k(scores, 1), [[1, 0, 0, 0]])


def test_window_cuts_ranks_and_pads():
    items = np.array([[9, 8, 7, 6, 5], [4, 3, 2, -1, -1], [1, -1, -1, -1, -1]])
    got = window(items, 1, 4, 10)
    np.testing.assert_array_equal(got, [[8, 7, 6], [3, 2, 10], [10, 10, 10]])
    assert got.dtype == np.int32


@pytest.mark.parametrize(("first", "end"), [(0, 8), (3, 8), (5, 8), (6, 9)])
def test_window_beyond_the_lists_is_padding(first, end):
    items = np.arange(10).reshape(2, 5)
    got = window(items, first, end, 10)
    there = items[:, first:end]
    assert got.shape == (2, end - first)
    np.testing.assert_array_equal(got[:, : there.shape[1]], there)
    np.testing.assert_array_equal(got[:, there.shape[1] :], 10)


def test_arguments_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        logits.keep_top_k(jnp.ones((2, 3)), 0)
    for first, end in ((3, 3), (4, 2), (-1, 2)):
        with pytest.raises(ValueError, match="needs 0 <= first < end"):
            window(np.ones((2, 5), np.int32), first, end, 9)
