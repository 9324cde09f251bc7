"""The statistics of a study against independent calculations."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from twotower_jax.errors import InputError
from twotower_jax.study.statistics import (
    Interval,
    Spread,
    bootstrap_intervals,
    compare,
    compare_all,
    holm,
    holm_levels,
    paired,
    permutation_ps,
    smallest_visible,
    spread,
)


def crossed(seeds, queries, seed=0, effect=0.0, sizes=(0.1, 1.0, 0.5)):
    """Return effect + seed + query + rest, normal with these deviations."""
    rng = np.random.default_rng(seed)
    of_seed, of_query, rest = sizes
    return (
        effect
        + of_seed * rng.standard_normal((seeds, 1))
        + of_query * rng.standard_normal(queries)
        + rest * rng.standard_normal((seeds, queries))
    )


def bootstrap_interval(differences, **given):
    (interval,) = bootstrap_intervals([differences], **given)
    return interval


def permutation_p(differences, **given):
    (p,) = permutation_ps([differences], **given)
    return p


# --- the error of the mean ------------------------------------------------------------


def test_spread_of_one_seed_is_that_of_a_paired_t_test():
    values = crossed(1, 50)
    found = spread(values)
    assert found.error == pytest.approx(stats.sem(values[0]))
    assert found.df == pytest.approx(49)
    assert (found.seed_error, found.seed_df) == (0, math.inf)


def test_spread_worked_out_by_hand():
    # Rows 1 2 6 and 5 6 10: query means 3 4 8, seed means 3 and 7, nothing else.
    found = spread(np.array([[1.0, 2, 6], [5, 6, 10]]))
    # Queries: variance 7 over 3; seeds: variance 8 over 2; 19/3 together.
    assert found.error == pytest.approx(math.sqrt(19 / 3))
    assert found.seed_error == pytest.approx(2)
    assert found.seed_df == pytest.approx((19 / 12) ** 0.75)
    assert found.df == pytest.approx(1 / ((12 / 19) ** 0.75 + 7 / 19 / 2))


def test_seeds_that_agree_by_chance_still_cost_degrees_of_freedom():
    """Below the rest they add no error, yet two or three of them show little."""
    # Seed means 1 and 2; the rest is far larger.
    values = np.array([[0.0, 4, -1], [5, 0, 1]])
    found = spread(values)
    assert found.seed_error == 0
    share = 0.25 / found.error**2  # variance 1/2 over 2 seeds
    assert found.df == pytest.approx(1 / (share**0.75 + (1 - share) / 2))


def test_spread_is_the_error_of_the_mean_on_average():
    sizes = (0.2, 1.0, 0.8)
    errors = [spread(crossed(4, 60, s, 0, sizes)).error ** 2 for s in range(2000)]
    true = 0.2**2 / 4 + 1 / 60 + 0.8**2 / 240
    assert np.mean(errors) == pytest.approx(true, rel=0.03)


def test_spread_is_never_below_that_of_the_queries():
    for seed in range(50):
        values = crossed(3, 40, seed, 0, (0.0, 0.1, 1.0))
        alone = spread(values.mean(axis=0, keepdims=True)).error
        assert spread(values).error >= alone


# --- the interval ---------------------------------------------------------------------


def test_interval_of_normal_queries_is_that_of_t():
    values = crossed(1, 200, effect=0.3)
    _, low, high, _ = bootstrap_interval(values, draws=40_000)
    expected = stats.t.interval(0.95, 199, values.mean(), stats.sem(values[0]))
    assert (low, high) == pytest.approx(expected, abs=0.03 * np.ptp(expected))


def test_interval_of_seeds_alone_is_that_of_t():
    # Every query has the same difference: a paired t test over four seeds.
    seeds = np.array([0.1, 0.3, 0.2, 0.7])
    _, low, high, _ = bootstrap_interval(np.tile(seeds[:, None], 30), draws=40_000)
    expected = stats.t.interval(0.95, 3, seeds.mean(), stats.sem(seeds))
    assert (low, high) == pytest.approx(expected, abs=0.03 * np.ptp(expected))


def test_interval_of_skewed_queries_agrees_with_scipy_and_leans_their_way():
    values = np.random.default_rng(3).exponential(size=(1, 400)) ** 2
    _, low, high, _ = bootstrap_interval(values, draws=20_000)
    other = stats.bootstrap(
        (values[0],), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(other), abs=0.03 * (high - low))
    assert high - values.mean() > values.mean() - low


def test_interval_depends_on_the_seed_alone_and_not_on_how_draws_are_held(monkeypatch):
    values = crossed(3, 70)
    first = bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) == first
    assert bootstrap_interval(values, seed=6) != first
    monkeypatch.setattr("twotower_jax.study.statistics.CELLS", 100 * 70)
    assert bootstrap_interval(values, seed=5) == first


@pytest.mark.parametrize("level", [0.9, 0.99])
def test_interval_of_another_level_is_that_of_t(level):
    seeds = np.array([0.1, 0.3, 0.2, 0.7])
    found = bootstrap_interval(np.tile(seeds[:, None], 30), draws=40_000).at(level)
    expected = stats.t.interval(level, 3, seeds.mean(), stats.sem(seeds))
    assert found == pytest.approx(expected, abs=0.03 * np.ptp(expected))


# --- p --------------------------------------------------------------------------------


@pytest.mark.parametrize("queries", [2, 5, 12])
def test_exact_p_is_that_of_scipy(queries):
    values = crossed(1, queries, effect=0.5)
    expected = stats.permutation_test(
        (values[0],), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert permutation_p(values) == pytest.approx(expected.pvalue)


def test_exact_p_counts_ties_and_differences_of_zero():
    values = np.array([[0.1, 0.2, 0.3, 0.0, -0.1]])
    flips = np.array(list(product((-1, 1), repeat=5))) @ values[0]
    expected = np.mean(np.abs(flips) >= values.sum() - 1e-12)
    assert permutation_p(values) == pytest.approx(expected)


def test_p_of_many_queries_is_that_of_scipy():
    values = crossed(1, 150, effect=0.12)
    expected = stats.permutation_test(
        (values[0],), np.mean, permutation_type="samples", n_resamples=20_000, rng=2
    )
    assert 0.01 < expected.pvalue < 0.5
    assert permutation_p(values, flips=20_000) == pytest.approx(
        expected.pvalue, abs=0.015
    )


def test_p_of_seeds_alone_is_that_of_a_t_test():
    # A difference that only seeds make: flips of queries alone would give p = 0.
    seeds = np.array([0.1, 0.3, 0.2, 0.7])
    values = np.tile(seeds[:, None], 3000) + crossed(1, 3000, sizes=(0, 1e-3, 0))
    expected = stats.ttest_1samp(values.mean(axis=1), 0).pvalue
    assert permutation_p(values, flips=500) == pytest.approx(expected, abs=0.005)


def test_p_of_equal_arms_is_one_and_of_far_arms_small():
    assert permutation_p(np.zeros((3, 40))) == 1
    found = permutation_p(crossed(3, 400, effect=2.0), flips=999)
    assert 1 / 1000 <= found < 2 / 1000


def test_p_does_not_depend_on_the_sign():
    values = crossed(3, 80, effect=0.2)
    assert permutation_p(values) == pytest.approx(permutation_p(-values), abs=0.02)


# --- Holm -----------------------------------------------------------------------------


def test_holm_worked_out_by_hand():
    # Sorted .01 .02 .03 .04: 4 x .01, 3 x .02, 2 x .03, then no less than .06.
    found = holm(np.array([0.04, 0.01, 0.03, 0.02]))
    assert found == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1, 1])
    assert holm(np.array([0.03])) == pytest.approx([0.03])


def test_holm_leaves_out_nan():
    found = holm(np.array([0.01, np.nan, 0.04]))
    assert found == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert holm(np.array([])).shape == (0,)


# --- the smallest visible difference --------------------------------------------------


def test_smallest_visible_of_normal_data_is_the_textbook_one():
    # (z_.975 + z_.8) sd / sqrt(n) = 2.8016 / sqrt(10000)
    values = crossed(1, 10_000, sizes=(0, 1, 0))
    values /= values.std(ddof=1)
    assert smallest_visible(spread(values)) == pytest.approx(0.02802, rel=1e-3)


@pytest.mark.parametrize("df", [1, 2, 4.5, 14, 300])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_smallest_visible_is_detected_with_probability_08(df, level):
    """In simulated t tests of normal data with so many degrees of freedom."""
    shift = smallest_visible(Spread(1.0, df, 0.0, df), level=level)
    rng = np.random.default_rng(0)
    errors = np.sqrt(rng.chisquare(df, 100_000) / df)
    found = rng.normal(shift, 1, 100_000) / errors
    detected = np.mean(found > stats.t.isf((1 - level) / 2, df))
    assert detected == pytest.approx(0.8, abs=0.006)


# --- both arms ------------------------------------------------------------------------


def test_compare_leaves_out_queries_without_a_value_pairwise():
    base, arm = crossed(3, 60, 1), crossed(3, 60, 2)
    arm[0, 4] = base[2, 7] = np.nan
    found = compare(arm, base)
    kept = np.delete(np.arange(60), [4, 7])
    assert found == compare(arm[:, kept], base[:, kept])
    assert (found.seeds, found.queries) == (3, 58)
    assert found.difference == pytest.approx((arm - base)[:, kept].mean())
    assert found.mean - found.base_mean == pytest.approx(found.difference)
    assert found.interval.low < found.difference < found.interval.high


def test_one_seed_is_over_queries_only():
    assert compare(crossed(1, 9, 1), crossed(1, 9, 2)).over == "queries"
    assert compare(crossed(2, 9, 1), crossed(2, 9, 2)).over == "seeds and queries"


def test_compare_without_queries_or_with_one_has_no_interval():
    nothing = compare(np.full((2, 3), np.nan), np.zeros((2, 3)))
    assert all(math.isnan(value) for value in (nothing.mean, nothing.p))
    assert all(math.isnan(value) for value in nothing.interval)
    assert (nothing.seeds, nothing.queries, nothing.over) == (2, 0, "")
    single = compare(np.ones((2, 1)), np.zeros((2, 1)))
    assert single.difference == 1
    assert math.isnan(single.interval.low) and math.isnan(single.smallest)
    assert all(map(math.isnan, single.equivalence_interval))
    assert math.isnan(single.interval.p) and single.decisive_p == 1
    assert single.p == 1


def test_equal_arms_differ_by_nothing():
    values = crossed(3, 40)
    found = compare(values, values)
    assert found.interval[:3] == (0, 0, 0) and found.p == 1


def test_a_family_widens_its_smallest_differences():
    """Holm's first test of five is at 1 %."""
    values = np.tile(np.array([0.1, 0.3, 0.2, 0.7])[:, None], 30)
    one, five = (compare(values, 0 * values, tests=tests) for tests in (1, 5))
    assert five.interval == one.interval and five.p == one.p
    ends = one.interval.at(0.99)[1] - five.difference
    ends = ends, one.interval.high - one.difference
    assert ends[0] / ends[1] == pytest.approx(
        stats.t.isf(0.005, 3) / stats.t.isf(0.025, 3)
    )
    assert five.smallest == pytest.approx(smallest_visible(five.spread, level=0.99))
    low, high = one.equivalence_interval
    assert one.interval.low < low < high < one.interval.high


def test_pairs_together_are_as_each_of_them_alone():
    """Pairs share their draws; seeds and missing queries may differ."""
    pairs = [(crossed(3, 60, i, i / 20), crossed(3, 60, 9)) for i in range(3)]
    pairs += [(crossed(2, 60, 4), crossed(2, 60, 9)), (crossed(3, 9), crossed(3, 9, 1))]
    pairs[1][0][0, 4] = np.nan
    pairs.append((np.full((2, 3), np.nan), np.zeros((2, 3))))
    together = compare_all(pairs)
    for pair, one in zip(pairs, together, strict=True):
        alone = compare(*pair)
        for ours, theirs in (
            (one.interval, alone.interval),
            (one.spread, alone.spread),
        ):
            assert ours == pytest.approx(theirs, nan_ok=True, rel=1e-9)
        assert one.p == pytest.approx(alone.p, nan_ok=True)
        assert (one.seeds, one.queries) == (alone.seeds, alone.queries)
    assert compare_all([]) == []


@pytest.mark.parametrize("shapes", [((2, 3), (3, 3)), ((2, 3), (2, 4)), ((3,), (3,))])
def test_arms_of_different_shapes_are_refused(shapes):
    with pytest.raises(InputError, match=r"\[seeds, queries\], got .* pair their"):
        paired(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_the_p_of_an_interval_is_that_of_a_t_test():
    """An interval of t quantiles ends at 0 at the p of scipy's paired t test."""
    values = np.array([0.1, 0.4, -0.2, 0.7])
    test = stats.ttest_1samp(values, 0)
    low, high = test.confidence_interval(0.95)
    interval = Interval(values.mean(), low, high, df=3)
    assert interval.p == pytest.approx(test.pvalue)
    assert interval.at(1 - interval.p)[0] == pytest.approx(0, abs=1e-12)
    assert Interval(-values.mean(), -high, -low, df=3).p == pytest.approx(test.pvalue)


def test_holm_levels_reject_where_adjusted_p_values_do():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.choice([0.001, 0.05, 1]) * rng.random(rng.integers(1, 7))
        p[rng.random(len(p)) < 0.1] = np.nan
        levels, adjusted = holm_levels(p), holm(p)
        assert ((p < levels) == (adjusted < 0.05)).all()
        assert (np.isnan(levels) == np.isnan(p)).all()
