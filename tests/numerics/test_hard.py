"""Draws of hard negatives and of mixed slots against their own probabilities."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.funnels import COLUMNS, by_hand, make_log, pool_dicts, pools_of
from helpers.oracles import mix_slots, row_ratio, slot_log_prob
from scipy import stats

from twotower_jax.negatives.easy import log_prob, make_proposal, sample
from twotower_jax.negatives.hard import cumulated, draw_hard, hard_slots, has_pool
from twotower_jax.negatives.source import Listed, find_listed

pytestmark = pytest.mark.long_programs
ITEMS = 1_000
DRAWS = 1_000_000
COUNTS = (10_000 / np.arange(1, ITEMS + 1)).astype(int)
STAGES = {
    "retrieved": [("retrieved", 0, None)],
    "pre_ranked": [("pre_ranked", 0, None)],
    "ranked": [("ranked", 0, None)],
    "two stages": [("pre_ranked", 0, None), ("ranked", 0, None)],
    "weights": [("pre_ranked", 0, None), ("ranked", 0, None), ("retrieved", 0, None)],
    "windows": [("ranked", 2, 9), ("pre_ranked", 0, 5)],
}
WEIGHTS = {"weights": (1.0, 4.0, 0.05), "windows": (3.0, 0.5)}


def funnel_rows():
    """Return rows of 4 users: 40 losers each, some of them twice, and one click."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(4):
        items = rng.choice(ITEMS, 32, replace=False)
        for rank, item in enumerate(np.concatenate([items, items[:8]]).tolist()):
            stage = ("retrieved", "pre_ranked", "ranked")[int(rng.integers(3))]
            rows.append((user, item, stage, user, rank % 12))
        rows.append((user, int(rng.integers(ITEMS)), "clicked", user, -1))
    return rows


def chi_square(drawn, expected):
    """Return p of draws of ids, where expected [ITEMS] sums to 1 over what can be."""
    observed = np.bincount(drawn.ravel(), minlength=len(expected))
    assert len(observed) == len(expected), "a padded entry was drawn"
    possible = expected > 0
    assert observed[~possible].sum() == 0
    if possible.sum() == 1:
        return 1.0
    chance = expected[possible] / expected[possible].sum()
    return stats.chisquare(observed[possible], chance * observed.sum()).pvalue


def pool_of(weights):
    """Return a pool [1, L] of items 0, 1, ... in the order of the weights."""
    weights = np.asarray(weights, np.float64)
    item = jnp.arange(len(weights), dtype=jnp.int32)[None]
    return item, jnp.asarray(np.log(weights / weights.sum()), jnp.float32)[None]


# ---------------------------------------------------------------------------- draws


@pytest.mark.parametrize("name", STAGES)
def test_draws_of_every_pool_fit_the_log_and_log_prob(name, key):
    rows = funnel_rows()
    log = make_log(rows, (*COLUMNS[:4], "rank"), num_items=ITEMS)
    stages, weights = STAGES[name], WEIGHTS.get(name, (1.0,) * len(STAGES[name]))
    pools, _ = pools_of(
        log, by_hand(log), stages=tuple(stages), weights=weights, pool="request"
    )
    drawn = np.asarray(draw_hard(key, pools.item, pools.log_prob, DRAWS))
    for user, told in enumerate(pool_dicts(pools, log)):
        found = Counter()
        for row in rows:
            for (stage, first, end), weight in zip(stages, weights, strict=True):
                if row[:1] == (user,) and row[2] == stage and first <= row[4]:
                    found[row[1]] += weight if end is None or row[4] < end else 0
        expected = np.array([found[item] for item in range(ITEMS)], float)
        expected /= expected.sum()
        assert {i: expected[i] for i in told} == pytest.approx(told, rel=1e-5)
        assert chi_square(drawn[pools.of_row[user]], expected) > 0.001


def test_chi_square_would_notice_a_wrong_weight(key):
    right, wrong = np.array([1, 1, 2, 2.0]), np.array([1, 1, 2, 2.02])
    drawn = np.asarray(draw_hard(key, *pool_of(right), DRAWS))
    assert chi_square(drawn, right / 6) > 0.001 > chi_square(drawn, wrong / 6.02)


def test_draws_of_a_row_are_independent_of_each_other_and_of_other_rows(key):
    item, log_prob = (jnp.tile(x, (DRAWS, 1)) for x in pool_of([1, 2, 3]))
    pair = np.asarray(draw_hard(key, item, log_prob, 2))
    joint = np.outer([1, 2, 3], [1, 2, 3]).ravel() / 36
    assert chi_square(3 * pair[:, 0] + pair[:, 1], joint) > 0.001
    rows = pair[:-1, 0] * 3 + pair[1:, 0]
    assert chi_square(rows[::2], joint) > 0.001


def test_a_pool_of_one_item_is_that_item(key):
    item, log_prob = jnp.array([[5], [9]], jnp.int32), jnp.zeros((2, 1))
    drawn = draw_hard(key, item, log_prob, 1_000)
    assert drawn.shape == (2, 1_000) and drawn.dtype == jnp.int32
    assert (drawn == item).all()


@pytest.mark.parametrize("width", [1, 4])
def test_a_row_without_entries_draws_padding(width, key):
    item = jnp.full((2, width), ITEMS, jnp.int32).at[0, 0].set(3)
    log_prob = jnp.full((2, width), -jnp.inf).at[0, 0].set(0.0)
    drawn = draw_hard(key, item, log_prob, 50)
    assert (drawn[0] == 3).all() and (drawn[1] == ITEMS).all()
    assert has_pool(log_prob).tolist() == [True, False]


def pools_with_holes():
    """Return item and log_prob of 64 pools [64, 500] with padding everywhere."""
    rng = np.random.default_rng(0)
    weights = rng.random((64, 500)) * (rng.random((64, 500)) < 0.3)
    with np.errstate(divide="ignore"):
        log_prob = np.log(weights / weights.sum(1, keepdims=True)).astype(np.float32)
    item = np.where(weights > 0, np.arange(500), 500)
    return jnp.asarray(item, jnp.int32), jnp.asarray(log_prob)


def test_padding_is_never_drawn_wherever_it_is(key):
    item, log_prob = pools_with_holes()
    drawn = np.asarray(draw_hard(key, item, log_prob, 20_000))
    assert drawn.max() < 500
    for row in range(0, 64, 16):
        expected = np.exp(np.asarray(log_prob[row], float))
        assert chi_square(drawn[row], expected) > 0.001


@pytest.mark.parametrize("jitted", [False, True])
def test_sums_rise_at_entries_and_nowhere_else(jitted):
    """A plain sum of these pools falls 89 times and rises on padding 111 times."""
    _, log_prob = pools_with_holes()
    total = np.asarray((jax.jit(cumulated) if jitted else cumulated)(log_prob))
    step = np.diff(total, axis=1, prepend=0)
    assert (step[np.isinf(log_prob)] == 0).all() and (step >= 0).all()
    np.testing.assert_allclose(total[:, -1], np.exp(-log_prob.max(axis=1)), rtol=1e-5)


@pytest.mark.slow
def test_proportions_of_tiny_probabilities_are_kept(key):
    """Numbers of 2^-23 would draw every second of these items twice as often.

    500 items of probability 6e-8 and one of the rest: 40 million draws give 1,200 of
    the small ones, deviation 35, half of them with an even number.
    """
    tiny = 6e-8
    item, log_prob = pool_of([tiny] * 500 + [1 - 500 * tiny])

    @jax.jit
    def count(key):
        drawn = draw_hard(key, item, log_prob, 4_000_000)
        return (drawn < 500).sum(), ((drawn < 500) & (drawn % 2 == 0)).sum()

    small, even = np.sum([count(k) for k in jax.random.split(key, 10)], axis=0)
    assert abs(small - 1_200) < 4 * 35
    assert abs(even - small / 2) < 4 * np.sqrt(small) / 2


def test_log_probabilities_need_no_sum_of_one_and_no_scale(key):
    item, log_prob = pool_of([1, 2, 3, 4])
    want = draw_hard(key, item, log_prob, 1_000)
    for shift in (-300.0, 300.0):
        got = draw_hard(key, item, log_prob + shift, 1_000)
        assert (got != want).mean() < 0.01


def test_the_same_key_gives_the_same_draws_with_and_without_jit(key):
    item, log_prob = pool_of(np.arange(1, 65))
    item, log_prob = jnp.tile(item, (8, 1)), jnp.tile(log_prob, (8, 1))
    plain = draw_hard(key, item, log_prob, 500)
    jitted = jax.jit(draw_hard, static_argnames="num")(key, item, log_prob, num=500)
    np.testing.assert_array_equal(plain, jitted)
    other = draw_hard(jax.random.fold_in(key, 1), item, log_prob, 500)
    assert (plain != other).mean() > 0.9


# ------------------------------------------------------------------ log probability


def test_log_prob_answers_for_any_id():
    item = jnp.array([[4, 2, 9, 9], [7, 9, 9, 9], [9, 9, 9, 9]], jnp.int32)
    inf = jnp.inf
    log_prob = jnp.log(jnp.array([[0.25, 0.75, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0.0]]))
    ids = jnp.array([[2, 4, 7, 9, 2], [7, 4, -1, 9, 10], [2, 4, 7, 9, 0]], jnp.int32)
    got = find_listed(Listed(item, log_prob), ids)
    want = [[0.75, 0.25, 0, 0, 0.75], [1, 0, 0, 0, 0], [0] * 5]
    np.testing.assert_allclose(np.exp(got), want, rtol=1e-6)
    assert got[0, 2] == got[2, 0] == -inf and got.dtype == jnp.float32
    jitted = jax.jit(find_listed)(Listed(item, log_prob), ids)
    np.testing.assert_array_equal(jitted, got)


def test_log_prob_of_a_catalogue_sums_to_one():
    log = make_log(funnel_rows(), (*COLUMNS[:4], "rank"), num_items=ITEMS)
    pools, _ = pools_of(log, by_hand(log), stages=(("ranked", 0, None),), seed=0)
    ids = jnp.tile(jnp.arange(ITEMS, dtype=jnp.int32), (len(pools.item), 1))
    got = find_listed(Listed(*map(jnp.array, pools[:2])), ids)
    np.testing.assert_allclose(np.exp(got).sum(1), 1, rtol=1e-5)


# -------------------------------------------------------------------------- mixture


@pytest.mark.parametrize("ratio", [0.25, 0.0, 1.0])
def test_slots_fit_slot_log_prob_over_the_catalogue(ratio, key):
    """A million slots of one row, and a row without a pool, against the mixture."""
    hard_key, easy_key, mix_key = jax.random.split(key, 3)
    item = jnp.array([[3, 800, 20, 990], [ITEMS] * 4], jnp.int32)
    pi = jnp.log(jnp.array([[0.1, 0.2, 0.3, 0.4], [0.0] * 4]))
    proposal = make_proposal("popularity", COUNTS)
    rows = row_ratio(ratio, pi)
    np.testing.assert_allclose(rows, [ratio, 0])
    ids, is_hard = mix_slots(
        mix_key,
        draw_hard(hard_key, item, pi, DRAWS),
        sample(easy_key, proposal, (2, DRAWS)),
        rows,
    )
    catalogue = jnp.tile(jnp.arange(ITEMS, dtype=jnp.int32), (2, 1))
    log_hard = find_listed(Listed(item, pi), catalogue)
    told = slot_log_prob(rows, log_hard, log_prob(proposal, catalogue))
    expected = np.exp(np.asarray(told, float))
    np.testing.assert_allclose(expected.sum(1), 1, rtol=1e-5)
    for row in range(2):
        assert chi_square(np.asarray(ids[row]), expected[row]) > 0.001
    hard = int(is_hard[0].sum())
    assert stats.binomtest(hard, DRAWS, ratio).pvalue > 0.001
    assert not is_hard[1].any()
    if ratio == 0.25:
        # The test would see log q of the easy proposal alone.
        easy_only = np.exp(np.asarray(log_prob(proposal, catalogue[0]), float))
        assert chi_square(np.asarray(ids[0]), easy_only) < 1e-6


def test_ratio_zero_is_easy_and_one_is_hard_bit_for_bit(key):
    hard = jnp.arange(40_000, dtype=jnp.int32).reshape(4, -1)
    easy = -1 - hard
    for ratio in (0, 0.0, jnp.zeros(4)):
        ids, is_hard = mix_slots(key, hard, easy, ratio)
        np.testing.assert_array_equal(ids, easy)
        assert not is_hard.any() and is_hard.shape == (4, 10_000)
    for ratio in (1, 1.0, jnp.ones(4)):
        ids, is_hard = mix_slots(key, hard, easy, ratio)
        np.testing.assert_array_equal(ids, hard)
        assert is_hard.all() and ids.dtype == jnp.int32


def test_not_one_of_forty_million_slots_is_hard_at_ratio_zero(key):
    """A uniform number is exactly 0 about five times in so many."""
    count = jax.jit(lambda key: hard_slots(key, (8, 500_000), 0.0).sum())
    assert sum(int(count(one)) for one in jax.random.split(key, 10)) == 0


def test_each_row_has_its_own_ratio_and_slots_are_independent(key):
    ratio = jnp.array([0.0, 0.1, 0.5, 0.9, 1.0])
    is_hard = np.asarray(hard_slots(key, (5, DRAWS), ratio))
    for row, chance in enumerate(ratio.tolist()):
        assert stats.binomtest(int(is_hard[row].sum()), DRAWS, chance).pvalue > 0.001
    both = int((is_hard[2, ::2] & is_hard[2, 1::2]).sum())
    assert stats.binomtest(both, DRAWS // 2, 0.25).pvalue > 0.001
    both = int((is_hard[2] & is_hard[3]).sum())
    assert stats.binomtest(both, DRAWS, 0.45).pvalue > 0.001


def test_mix_is_the_same_with_and_without_jit(key):
    hard = jnp.zeros((3, 1_000), jnp.int32)
    ratio = jnp.array([0.2, 0.0, 0.7])
    plain = mix_slots(key, hard, hard + 1, ratio)
    jitted = jax.jit(mix_slots)(key, hard, hard + 1, ratio)
    for one, other in zip(plain, jitted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("jitted", [False, True])
def test_slot_log_prob_at_its_limits(jitted):
    inf = jnp.inf
    log_hard = jnp.array([[-inf, -3.0, 0.0, -80.0], [-inf, -inf, -1.0, -2.0]])
    log_easy = jnp.array([[-1.0, -2.5, -90.0, -inf], [-inf, -7.0, -inf, -0.5]])
    function = jax.jit(slot_log_prob) if jitted else slot_log_prob
    np.testing.assert_array_equal(function(0.0, log_hard, log_easy), log_easy)
    np.testing.assert_array_equal(function(1.0, log_hard, log_easy), log_hard)
    mixed = function(jnp.array([0.25, 0.0]), log_hard, log_easy)
    np.testing.assert_array_equal(mixed[1], log_easy[1])
    want = np.log(
        0.25 * np.exp(np.float64(log_hard[0])) + 0.75 * np.exp(np.float64(log_easy[0]))
    )
    np.testing.assert_allclose(mixed[0], want, rtol=1e-6)


def test_slot_log_prob_of_tiny_ratios_and_probabilities_is_exact():
    rho = 1e-9
    got = slot_log_prob(rho, jnp.array([[-1.0]]), jnp.array([[-60.0]]))
    want = np.log(rho * np.exp(-1.0) + (1 - rho) * np.exp(-60.0))
    np.testing.assert_allclose(got, [[want]], rtol=1e-6)


def test_row_ratio_is_zero_without_a_pool():
    log_prob = jnp.log(jnp.array([[1.0, 0.0], [0.0, 0.0], [0.5, 0.5]]))
    assert row_ratio(0.5, log_prob).tolist() == [0.5, 0, 0.5]
    each = row_ratio(jnp.array([0.25, 0.5, 1.0]), log_prob)
    assert each.tolist() == [0.25, 0, 1] and each.dtype == jnp.float32
