"""Resampled epochs against their weights; weights against hand-computed numbers."""

import numpy as np
import pytest
from helpers.positives import item_weights, strategy_of
from scipy import stats

from twotower_jax.errors import InputError
from twotower_jax.negatives import log_effective
from twotower_jax.positives import POSITIVES, draw_epoch
from twotower_jax.run.positives import resampling_report

ITEMS = 1_000
RNG = np.random.default_rng(0)
# Every seventh item has no positive; the others 1 to 5,000, in no order of items.
COUNTS = RNG.permutation((5_000 / np.arange(1, ITEMS + 1) ** 0.8).astype(int))
COUNTS[::7] = 0
POSITIVE = RNG.permutation(np.repeat(np.arange(ITEMS, dtype=np.int32), COUNTS))
TOTAL = len(POSITIVE)

# strategy, settings; the second ones leave the defaults and have other cases of w
CASES = [
    ("none", {}),
    ("upsample_cold", {}),
    ("upsample_cold", {"exponent": 0.9, "reference": 300.0, "max_repeat": 25}),
    ("downsample_hot", {}),
    ("downsample_hot", {"exponent": 1.3, "reference": 10.0}),
    ("word2vec", {}),
    ("word2vec", {"threshold": 1e-5}),
    ("word2vec_c", {"threshold": 1e-4}),
    ("power", {}),
    ("power", {"exponent": 0.0}),
    ("power", {"exponent": 1.0}),
    ("power", {"exponent": 1.5}),
    ("cap", {}),
    ("cap", {"cap": 7}),
]
IDS = [f"{name}-{'-'.join(map(str, rest.values()))}" for name, rest in CASES]
cases = pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)


def draw(name, weights, seed, items=POSITIVE, counts=COUNTS):
    generator = np.random.default_rng(seed)
    return draw_epoch(strategy_of(name), items, counts, weights, generator)


def appearances(name, weights, million=1.0):
    """Return how often each row appears in E epochs of about a million draws, and E."""
    epochs = max(2, round(million * 1e6 / (COUNTS @ weights)))
    total = np.zeros(TOTAL, int)
    for seed in range(epochs):
        total += np.bincount(draw(name, weights, seed), minlength=TOTAL)
    return total, epochs


def bernoulli(weights):
    """Return the variance of a row's appearances in an epoch: floor + Bernoulli."""
    rest = weights - np.floor(weights)
    return rest * (1 - rest)


def fit(observed, expected, trials, variance, groups=None):
    """Return p of the chi-square sum (O - E)^2 / (trials variance), two-sided.

    A count is a sum of ``trials`` independent 0-or-1 draws of this variance v, where
    (O - E)^2 / (trials v) has mean 1 and variance 2 + (1 - 6 v) / (trials v) exactly;
    small counts are far from the chi-square distribution's 2. Too small a sum is as
    telling as too large a one: draws that are not independent. A count that does not
    vary has to be exact. Each of the groups has a fixed sum: one degree of freedom
    less.
    """
    fixed, varies = variance < 1e-9, trials * variance > 0.01
    np.testing.assert_array_equal(observed[fixed], np.rint(expected[fixed]))
    if not varies.any():
        return 1.0
    o, e, n, v = (
        np.broadcast_to(x, observed.shape)[varies]
        for x in (observed, expected, trials, variance)
    )
    terms = (o - e) ** 2 / (n * v)
    if groups is not None:  # covariance -v / (c - 1) within a group of c
        size = np.bincount(groups[varies])[groups[varies]]
        terms *= (size - 1) / size
    freedom = varies.sum() - (0 if groups is None else len(np.unique(groups[varies])))
    spread = np.sqrt((2 + (1 - 6 * v) / (n * v)).sum())
    return 2 * stats.norm.sf(abs(terms.sum() - freedom) / spread)


# --- draws against weights -----------------------------------------------------------


@cases
def test_items_appear_as_often_as_their_weights_say(name, settings):
    weights = item_weights(name, COUNTS, **settings)
    rows, epochs = appearances(name, weights)
    observed = np.bincount(POSITIVE, rows, minlength=ITEMS)
    expected = epochs * COUNTS * weights
    if name == "power":
        q = COUNTS * weights / TOTAL
        assert rows.sum() == epochs * TOTAL
        some = COUNTS > 0
        assert stats.chisquare(observed[some], expected[some]).pvalue > 0.001
        one = np.zeros(ITEMS, int)  # all draws have a fixed sum
        assert fit(observed, expected, epochs * TOTAL, q * (1 - q), one) > 0.001
    elif name == "cap":
        exact = epochs * np.minimum(COUNTS, settings.get("cap", 100))
        np.testing.assert_array_equal(observed, exact)
        np.testing.assert_allclose(expected, exact, rtol=1e-12)
    else:
        trials = epochs * COUNTS
        assert fit(observed, expected, trials, bernoulli(weights)) > 0.001


@pytest.mark.parametrize("name", ["upsample_cold", "downsample_hot", "power"])
def test_the_fit_would_notice_a_slightly_wrong_exponent(name):
    weights = item_weights(name, COUNTS, exponent=0.5)
    rows, epochs = appearances(name, weights)
    observed = np.bincount(POSITIVE, rows, minlength=ITEMS)
    wrong = item_weights(name, COUNTS, exponent=0.52)
    chance = COUNTS * wrong / TOTAL
    trials, variance = epochs * COUNTS, bernoulli(wrong)
    if name == "power":
        trials, variance = epochs * TOTAL, chance * (1 - chance)
    varies = variance > 1e-9  # the others do not depend on the exponent
    expected = epochs * COUNTS * wrong
    trials = np.broadcast_to(trials, ITEMS)
    p = fit(*(x[varies] for x in (observed, expected, trials, variance)))
    assert p < 1e-6


def test_the_fit_would_notice_draws_that_are_too_even():
    """Systematic instead of independent draws: a sum near 0."""
    weights = item_weights("power", COUNTS)
    q = COUNTS * weights / TOTAL
    observed = np.rint(TOTAL * q)
    assert fit(observed, TOTAL * q, TOTAL, q * (1 - q)) < 1e-6


@cases
def test_positives_of_an_item_appear_equally_often(name, settings):
    weights = item_weights(name, COUNTS, **settings)
    rows, epochs = appearances(name, weights)
    expected, trials = epochs * weights[POSITIVE], epochs
    variance, groups = bernoulli(weights)[POSITIVE], None
    if name == "cap":
        groups = POSITIVE  # of which exactly k an epoch
    elif name == "power":
        chance = weights[POSITIVE] / TOTAL
        trials, variance = epochs * TOTAL, chance * (1 - chance)
        assert chance.sum() == pytest.approx(1)
    assert fit(rows, expected, trials, variance, groups) > 0.001


@cases
def test_a_row_appears_floor_or_ceil_of_its_weight(name, settings):
    weights = item_weights(name, COUNTS, **settings)
    rows = draw(name, weights, 0)
    assert rows.dtype == np.int32 and rows.min() >= 0 and rows.max() < TOTAL
    if name != "power":  # power draws with replacement
        times = np.bincount(rows, minlength=TOTAL)
        assert (times >= np.floor(weights)[POSITIVE]).all()
        assert (times <= np.ceil(weights)[POSITIVE]).all()
    if name == "none":
        assert sorted(rows.tolist()) == list(range(TOTAL))


def test_draws_with_replacement_repeat_rows():
    """Each of n draws is independent: a row is missed with chance (1 - 1 / n)^n."""
    counts = np.full(100, 200)
    items = np.repeat(np.arange(100), 200)
    rows = draw("power", item_weights("power", counts), 0, items, counts)
    missed = 20_000 - len(np.unique(rows))
    assert abs(missed - 20_000 * np.exp(-1)) < 5 * np.sqrt(20_000 * 0.1)


def test_the_cap_is_exact_in_every_epoch():
    counts = np.array([3, 0, 49, 1, 10])
    items = np.random.default_rng(0).permutation(np.repeat(np.arange(5), counts))
    for limit in range(1, 51):
        weights = item_weights("cap", counts, cap=limit)
        rows = draw("cap", weights, limit, items, counts)
        assert len(set(rows.tolist())) == len(rows)
        found = np.bincount(items[rows], minlength=5)
        assert found.tolist() == [min(c, limit) for c in counts]


@cases
def test_an_epoch_depends_on_its_generator_alone(name, settings):
    weights = item_weights(name, COUNTS, **settings)
    first, again, other = (draw(name, weights, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    if name != "none":
        assert not np.array_equal(first, other)


def test_counts_of_other_items_are_refused():
    with pytest.raises(ValueError, match="bincount"):
        draw("none", np.ones(ITEMS), 0, counts=np.roll(COUNTS, 1))
    with pytest.raises(InputError, match="cap, downsample_hot, none"):
        draw("nome", np.ones(ITEMS), 0)


# --- weights by hand -----------------------------------------------------------------


def test_word2vec_hand_computed():
    """f = .9, .09, .01 and t = .01: t / f = 1/90, 1/9, 1, of which the roots."""
    counts = np.array([900, 90, 10, 0])
    got = item_weights("word2vec", counts, threshold=0.01)
    np.testing.assert_allclose(got, [0.1054092553, 1 / 3, 1, 0], rtol=1e-9)
    got = item_weights("word2vec_c", counts, threshold=0.01)
    np.testing.assert_allclose(got, [0.1165203664, 4 / 9, 1, 0], rtol=1e-9)


def test_word2vec_c_is_the_line_of_the_c_program():
    """ran = (sqrt(cn / (sample * words)) + 1) * (sample * words) / cn."""
    got = item_weights("word2vec_c", COUNTS, threshold=3e-4)
    for count, weight in zip(COUNTS.tolist(), got.tolist(), strict=True):
        if count:
            ran = ((count / (3e-4 * TOTAL)) ** 0.5 + 1) * (3e-4 * TOTAL) / count
            assert weight == pytest.approx(min(1, ran))


def test_upsampling_and_downsampling_hand_computed():
    """The mean of 1, 4, 25 and 50 is 20; items without a positive do not count."""
    counts = np.array([1, 4, 25, 50, 0, 0])
    up = item_weights("upsample_cold", counts, max_repeat=3)
    np.testing.assert_allclose(up, [3, 5**0.5, 1, 1, 0, 0])
    down = item_weights("downsample_hot", counts)
    np.testing.assert_allclose(down, [1, 1, 0.8**0.5, 0.4**0.5, 0, 0])
    up = item_weights("upsample_cold", counts, exponent=1, reference=8)
    np.testing.assert_allclose(up, [8, 2, 1, 1, 0, 0])
    down = item_weights("downsample_hot", counts, exponent=1, reference=8)
    np.testing.assert_allclose(down, [1, 1, 0.32, 0.16, 0, 0])


def test_power_hand_computed():
    """Roots of 1, 4 and 9 share 14 draws as 1 : 2 : 3."""
    got = item_weights("power", np.array([1, 4, 0, 9]), exponent=0.5)
    np.testing.assert_allclose(got, [14 / 6, 14 / 12, 0, 14 / 18])


def test_power_1_is_none_in_expectation_and_power_0_is_flat():
    some = COUNTS > 0
    none = item_weights("none", COUNTS)
    np.testing.assert_array_equal(none, some)
    np.testing.assert_allclose(item_weights("power", COUNTS, exponent=1), none)
    flat = COUNTS * item_weights("power", COUNTS, exponent=0)
    np.testing.assert_allclose(flat[some], TOTAL / some.sum())
    assert not flat[~some].any()


def test_a_large_power_does_not_overflow():
    got = item_weights("power", np.array([10**90, 1], float), exponent=4.0)
    np.testing.assert_allclose(got, [1, 0], atol=1e-8)


@pytest.mark.parametrize("name", POSITIVES)
def test_items_with_equal_counts_are_treated_alike(name):
    """With the mean as reference, and counts at most the cap, as without."""
    np.testing.assert_allclose(item_weights(name, np.full(5, 20), threshold=0.3), 1)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("downsample_hot", {"reference": 1e-9}, r"positives.reference=1e-09 leaves"),
        (
            "word2vec",
            {"threshold": 1e-15},
            r"positives.threshold=1e-15 leaves .*word2v",
        ),
        ("word2vec_c", {"threshold": 1e-15}, r"positives.threshold=1e-15 leaves"),
        ("nome", {}, r"positives.strategy='nome' is unknown; choose one of: cap,"),
    ],
)
def test_settings_that_leave_nothing_are_refused(name, settings, message):
    with pytest.raises(InputError, match=message):
        item_weights(name, COUNTS, **settings)


@pytest.mark.parametrize("name", POSITIVES)
def test_no_positives_at_all_are_refused(name):
    with pytest.raises(InputError, match="no item has a training positive"):
        item_weights(name, np.zeros(3, int))


@pytest.mark.parametrize("count", range(1, 200))
def test_one_expected_positive_is_enough_whatever_the_rounding(count):
    assert item_weights("cap", np.array([count]), cap=1) * count == pytest.approx(1)


# --- what a batch holds, and the report ----------------------------------------------


@cases
def test_effective_shares_sum_to_1_and_are_those_of_the_draws(name, settings):
    weights = item_weights(name, COUNTS, **settings)
    log_q = log_effective(COUNTS, weights)
    assert log_q.dtype == np.float32 and log_q.shape == (ITEMS,)
    q = np.exp(log_q.astype(float))
    assert q.sum() == pytest.approx(1, abs=1e-6)
    assert (log_q[COUNTS == 0] == -np.inf).all()
    rows = np.concatenate([draw(name, weights, seed) for seed in range(3)])
    found = np.bincount(POSITIVE[rows], minlength=ITEMS) / len(rows)
    # Half the sum of differences: shares of n draws of 857 items are about this near.
    assert np.abs(found - q).sum() / 2 < 0.5 * np.sqrt(ITEMS / len(rows))
    if name == "none":
        np.testing.assert_allclose(q, COUNTS / TOTAL, rtol=1e-5)


def test_the_report_hand_computed():
    """Counts 6, 3, 1, 0 with w = 1/3, 1, 2: the items' numbers become 2, 3, 2, 0."""
    report = resampling_report(np.array([6, 3, 1, 0]), np.array([1 / 3, 1, 2, 0]))
    want = {
        "samples before": 10,
        "samples after": 7,
        "top 1% share before": 0.6,
        "top 1% share after": 3 / 7,
        # sum (2 j - 5) x_j / (4 sum x) over x ascending
        "gini before": (-3 * 0 - 1 * 1 + 1 * 3 + 3 * 6) / 40,
        "gini after": (-3 * 0 - 1 * 2 + 1 * 2 + 3 * 3) / 28,
        "effective items before": 100 / 46,
        "effective items after": 49 / 17,
        "effective samples": 49 / (6 / 9 + 3 + 4),
    }
    assert report == pytest.approx(want)
    assert {type(value) for value in report.values()} == {float}


@pytest.mark.parametrize(("items", "top"), [(99, 1), (100, 1), (101, 2), (700, 7)])
def test_the_top_is_rounded_up(items, top):
    share = resampling_report(np.ones(items), np.ones(items))["top 1% share before"]
    assert share == pytest.approx(top / items)


def test_gini_is_that_of_all_pairs():
    """Mean absolute difference of all pairs over twice the mean."""
    got = resampling_report(COUNTS, np.ones(ITEMS))["gini before"]
    pairs = np.abs(COUNTS[:, None] - COUNTS[None]).mean() / (2 * COUNTS.mean())
    assert got == pytest.approx(pairs)


@cases
def test_the_report_of_every_strategy(name, settings):
    weights = item_weights(name, COUNTS, **settings)
    report = resampling_report(COUNTS, weights)
    assert report["samples before"] == TOTAL
    drawn = [len(draw(name, weights, seed)) for seed in range(5)]
    deviation = np.sqrt(COUNTS @ bernoulli(weights) / 5) if name != "power" else 0
    assert abs(np.mean(drawn) - report["samples after"]) <= 5 * deviation + 1e-6
    assert report["effective samples"] <= TOTAL * (1 + 1e-12)
    flatter = report["gini after"] < report["gini before"] - 1e-3
    unchanged = name == "none" or settings.get("exponent") == 1.0
    assert flatter == (not unchanged and settings.get("exponent") != 1.5)
    if unchanged:
        assert report["effective samples"] == pytest.approx(TOTAL)
