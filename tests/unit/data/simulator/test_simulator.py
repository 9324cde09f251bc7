"""The log of the simulated world: stages, ranks, clicks, determinism."""

import hashlib
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.quick import quick
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from scipy import stats

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.simulator.facts import truth
from twotower_jax.data.simulator.funnel import make_blocks
from twotower_jax.data.simulator.record import (
    _prepared,
    prepare,
    simulate,
    simulate_blocks,
)
from twotower_jax.data.simulator.world import affinity, make_sizes, tastes_at

SMALL = SimulatorConfig(
    users=300,
    items=1_000,
    requests=2_000,
    retrieved=200,
    pre_ranked=100,
    ranked=40,
    re_ranked=20,
)
PER_REQUEST = 10 + 4 * 10
DISCARDED = (Stage.RE_RANKED, Stage.RANKED, Stage.PRE_RANKED, Stage.RETRIEVED)


@pytest.fixture(scope="module")
def small():
    return simulate(SMALL)


def ids(log):
    """Return the world's indices of users and items, for each row."""
    return log.user_ids.to_numpy()[log.user], log.item_ids.to_numpy()[log.item]


def moments(log, config):
    return (log.request + 0.5) / config.requests


def shown(log):
    return log.stage >= Stage.EXPOSED


def log_truth(log, config):
    """Return the true probability of each row at its time."""
    return truth(config, *ids(log), moments(log, config))


# --- rows ----------------------------------------------------------------------------


def test_every_request_has_its_rows_in_order_of_time(small):
    assert len(small.user) == 2_000 * PER_REQUEST
    assert small.request.tolist() == np.repeat(np.arange(2_000), PER_REQUEST).tolist()
    times = small.time.reshape(2_000, PER_REQUEST)
    assert (times == times[:, :1]).all()
    assert (np.diff(times[:, 0]) > 0).all()
    assert times[-1, 0] - times[0, 0] == pytest.approx(30 * 86_400, rel=2e-3)
    users = small.user.reshape(2_000, PER_REQUEST)
    assert (users == users[:, :1]).all()


def test_stages_per_request_are_those_of_the_config(small):
    stages = small.stage.reshape(2_000, PER_REQUEST)
    for stage in DISCARDED:
        assert ((stages == stage).sum(axis=1) == 10).all()
    assert ((stages >= Stage.EXPOSED).sum(axis=1) == 10).all()


def test_without_subsampling_every_item_of_the_funnel_is_there_once():
    config = replace(SMALL, kept=1_000, requests=200)
    log = simulate(config)
    stages = log.stage.reshape(200, 200)
    sizes = {4: 10, 3: 10, 2: 20, 1: 60, 0: 100}
    for stage, size in sizes.items():
        assert ((np.minimum(stages, 4) == stage).sum(axis=1) == size).all()
    items = np.sort(log.item.reshape(200, 200), axis=1)
    assert (np.diff(items, axis=1) > 0).all()
    for stage, size in sizes.items():
        ranks = log.rank[np.minimum(log.stage, 4) == stage].reshape(200, size)
        assert (ranks == np.arange(size)).all()


def test_the_kept_rows_are_uniform_ones_of_all_with_their_true_ranks(small):
    whole = simulate(replace(SMALL, kept=1_000))

    def keys(log):
        """Return one whole number for each row, out of all its columns."""
        key = np.zeros(len(log.item), np.int64)
        columns = (log.request, log.stage, log.rank, *ids(log))
        for column, size in zip(columns, (2_000, 6, 100, 300, 1_000), strict=True):
            key = key * size + column
        return key

    assert len(whole.item) == 2_000 * 200
    assert np.isin(keys(small), keys(whole)).all()
    # Each of the ranks 0..99 of a discarded stage is kept in one of ten requests.
    counts = np.bincount(small.rank[small.stage == Stage.RETRIEVED], minlength=100)
    assert len(counts) == 100 and counts.sum() == 20_000
    # Draws without replacement: less than binomial variance, so chi-square is safe.
    assert ((counts - 200) ** 2 / 200).sum() < stats.chi2.ppf(0.999, 99)


def test_nothing_is_kept_of_discarded_stages_with_kept_0():
    log = simulate(replace(SMALL, kept=0, requests=50))
    assert len(log.user) == 500 and shown(log).all()


def test_ranks_are_the_order_of_the_true_affinity_when_the_stages_see_no_noise():
    """Then the whole funnel is one list: the page, and stage after stage behind it."""
    config = replace(
        SMALL,
        kept=1_000,
        requests=200,
        pre_ranking_noise=0.0,
        ranking_noise=0.0,
        popularity_pull=0.0,
        variety=0.0,
    )
    log = simulate(config)
    users, items = ids(log)
    world = prepare(config).world
    tastes = tastes_at(world, users, moments(log, config)).astype(np.float64)
    exact = 1.5 / np.sqrt(8) * (tastes * world.items[items]).sum(axis=1)
    exact = (exact + 0.3 * world.quality[items].astype(np.float64)).reshape(200, 200)
    assert (np.diff(exact, axis=1) < 1e-5).all()
    # Wrong ranks would have to show: neighbours differ by far more than rounding.
    assert np.median(-np.diff(exact, axis=1)) > 1e-3


def test_noise_loosens_the_ranks_but_does_not_turn_them():
    def correlation(noise):
        config = replace(SMALL, kept=1_000, requests=300, pre_ranking_noise=noise)
        log = simulate(replace(config, popularity_pull=0.0))
        lost = log.stage == Stage.RETRIEVED
        liking = log_truth(log, config)[lost].reshape(300, 100)
        place = stats.rankdata(liking, axis=1).ravel()
        return np.corrcoef(log.rank[lost], place)[0, 1]

    quiet, loud = correlation(0.3), correlation(3.0)
    assert quiet < -0.9
    assert quiet + 0.3 < loud < -0.1


def test_a_request_of_a_user_shows_nothing_that_the_user_clicked():
    """Replayed from the log alone, as long as retrieval remembers every click."""
    config = replace(SMALL, kept=0, history=1_000, users=100, requests=1_000)
    log = simulate(config)
    clicked = {}
    for row in range(len(log.user)):
        before = clicked.setdefault(log.user[row], {})
        # A click of the same request comes later on the page, or is another item.
        assert before.get(log.item[row]) is None
        if log.stage[row] == Stage.CLICKED:
            before[log.item[row]] = log.request[row]
    assert max(len(items) for items in clicked.values()) > 20


# --- clicks --------------------------------------------------------------------------


def test_the_click_rate_is_about_that_of_the_config(small):
    # 20,000 draws: three standard deviations are 0.0085; the pilot adds some.
    assert (small.stage[shown(small)] == Stage.CLICKED).mean() == pytest.approx(
        0.2, abs=0.0125
    )


@pytest.mark.parametrize("bias", quick([0.0, 0.7, 1.0], [0.7]))
def test_clicks_at_a_position_are_truth_times_its_power(bias):
    config = replace(SMALL, kept=0, position_bias=bias, requests=3_000)
    log = simulate(config)
    clicks = (log.stage == Stage.CLICKED).reshape(-1, 10)
    probability = log_truth(log, config).reshape(-1, 10)
    expected = probability * np.arange(1, 11) ** -bias
    deviation = np.sqrt((expected * (1 - expected)).sum(axis=0))
    z = (clicks.sum(axis=0) - expected.sum(axis=0)) / deviation
    assert (z**2).sum() < stats.chi2.ppf(0.999, 10)
    # And the exponent, as one would measure it.
    seen = clicks.sum(axis=0) / probability.sum(axis=0)
    slope = np.polyfit(np.log(np.arange(1, 11)), np.log(seen), 1)[0]
    assert slope == pytest.approx(-bias, abs=0.09)


def test_clicks_fit_the_truth_in_bins_of_probability():
    config = replace(SMALL, kept=0, requests=3_000, drift=1.5)
    log = simulate(config)
    expected = log_truth(log, config) * (log.rank + 1.0) ** -0.7
    hit = log.stage == Stage.CLICKED
    bins = np.searchsorted(np.quantile(expected, np.linspace(0, 1, 21)[1:-1]), expected)
    observed = np.bincount(bins, hit)
    mean, variance = np.bincount(bins, expected), expected * (1 - expected)
    z = (observed - mean) / np.sqrt(np.bincount(bins, variance))
    assert (z**2).sum() < stats.chi2.ppf(0.999, 20)
    # The bins span a wide range, so that this does not test one mean only.
    assert mean.min() / 1_500 < 0.05 and mean.max() / 1_500 > 0.5


def test_the_truth_of_a_wrong_moment_or_a_wrong_user_does_not_fit():
    """The test above fails for a truth other than that of the clicks."""
    config = replace(SMALL, kept=0, requests=3_000, drift=1.5)
    log = simulate(config)
    users, items = ids(log)
    hit, seen = log.stage == Stage.CLICKED, (log.rank + 1.0) ** -0.7

    def likelihood(probability):
        p = np.clip(probability * seen, 1e-9, 1 - 1e-9)
        return np.where(hit, np.log(p), np.log1p(-p)).mean()

    right = likelihood(log_truth(log, config))
    assert right > likelihood(truth(config, users, items, moments(log, config) ** 3))
    late = likelihood(truth(config, users, items))
    other = truth(config, (users + 1) % 300, items, moments(log, config))
    assert right > late + 0.02 and right > likelihood(other) + 0.1


def test_click_rate_zero_and_one():
    none = simulate(replace(SMALL, click_rate=0.0, requests=100))
    assert (none.stage == Stage.CLICKED).sum() == 0
    every = simulate(replace(SMALL, click_rate=1.0, position_bias=0.0, requests=100))
    assert (every.stage[shown(every)] == Stage.CLICKED).all()


# --- the same log --------------------------------------------------------------------


def columns(rows):
    return {name: getattr(rows, name) for name in ("stage", "time", "request", "rank")}


def test_same_config_same_log_other_seed_other_log(small):
    _prepared.cache_clear()
    again, other = simulate(SMALL), simulate(replace(SMALL, seed=1))
    for name in ("user", "item", "stage", "time", "request", "rank"):
        np.testing.assert_array_equal(getattr(small, name), getattr(again, name))
    assert small.item_ids.equals(again.item_ids)
    assert small.user_ids.equals(again.user_ids)
    for name, feature in small.item_features.items():
        np.testing.assert_array_equal(feature.values, again.item_features[name].values)
    assert (small.item[:5_000] != other.item[:5_000]).mean() > 0.9


# Of the rows of SMALL. It changes when the meaning of a config changes (note it in the
# changelog), or numpy its streams of random numbers.
DIGEST = "1db126963ffb"


def digest_of(config):
    """Return 12 hex digits of SHA-256 over the rows of a log."""
    digest = hashlib.sha256()
    for rows in simulate_blocks(config):
        for values in rows:
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:12]


@pytest.mark.slow
def test_the_log_is_the_same_on_lesser_machines():
    """Without numpy's vector loops, and with another BLAS kernel."""
    assert digest_of(SMALL) == DIGEST
    found = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    env = os.environ | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(found),
        "OPENBLAS_CORETYPE": "Prescott",
        "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:4])),
    }
    words = "import test_simulator as t; print(t.digest_of(t.SMALL))"
    command = [sys.executable, "-c", words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == DIGEST


def test_blocks_are_the_log_and_the_first_of_them_its_beginning(small):
    blocks = list(itertools.islice(simulate_blocks(SMALL), 5))
    users, items = ids(small)
    begin = 0
    for rows in blocks:
        part = slice(begin, begin + len(rows.user))
        np.testing.assert_array_equal(rows.user, users[part])
        np.testing.assert_array_equal(rows.item, items[part])
        for name, values in columns(rows).items():
            np.testing.assert_array_equal(values, getattr(small, name)[part])
        begin += len(rows.user)
        firsts = rows.user[::PER_REQUEST]
        assert len(np.unique(firsts)) == len(firsts)
    assert 0 < begin < len(users)
    total = sum(len(rows.user) for rows in simulate_blocks(SMALL))
    assert total == len(users)


def test_a_block_ends_before_a_user_comes_again():
    users = np.array([3, 1, 2, 1, 1, 0, 2, 3, 1, 5])
    found = [users[rows].tolist() for rows in make_blocks(users, 4)]
    assert found == [[3, 1, 2], [1], [1, 0, 2, 3], [1, 5]]
    rng = np.random.default_rng(0)
    users = rng.integers(0, 50, 1_000)
    blocks = [users[rows] for rows in make_blocks(users, 1_000)]
    assert np.concatenate(blocks).tolist() == users.tolist()
    for block, after in itertools.pairwise(blocks):
        assert len(set(block)) == len(block) and after[0] in block


def test_a_change_late_in_the_funnel_leaves_retrieval_of_first_requests_alone():
    """Each part has its own stream of random numbers."""
    plain = next(simulate_blocks(SMALL))
    other = next(simulate_blocks(replace(SMALL, position_bias=0.0)))
    np.testing.assert_array_equal(plain.item, other.item)
    assert (plain.stage != other.stage).any()


# --- sizes and errors ----------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        SimulatorConfig(users=2, items=3, requests=20, exposed=3, click_rate=0.1),
        SimulatorConfig(users=60, items=80, requests=300, exposed=5),
        SimulatorConfig(users=20, items=10, requests=50),
        SimulatorConfig(users=5, items=1, requests=5, exposed=1, click_rate=0.9),
        SimulatorConfig(users=5, items=500, requests=50, zipf_exponent=5.0),
        SimulatorConfig(users=5, items=30, requests=50, latent_dim=1),
        SimulatorConfig(users=5, items=30, requests=50, taste_weight=100.0),
        SimulatorConfig(users=5, items=900, requests=1, growth=100.0),
        SimulatorConfig(users=9, items=900, requests=50, from_similar=0, from_taste=0),
        SimulatorConfig(users=9, items=900, requests=50, from_popular=0, from_taste=0),
        SimulatorConfig(users=9, items=900, requests=50, history=1, items_per_author=1),
    ],
)
def test_corners_show_distinct_items(config):
    log = simulate(config)
    items = np.sort(log.item[shown(log)].reshape(-1, config.exposed), axis=1)
    assert (np.diff(items, axis=1) > 0).all()
    assert log.num_items == config.items and len(np.unique(log.request)) > 0
    assert (log.rank >= 0).all() and np.isfinite(log.time).all()


def test_a_small_catalogue_shrinks_the_stages_in_proportion():
    sizes = make_sizes(SimulatorConfig(items=80, exposed=5))
    assert sizes.retrieved == 40 and sizes.exposed == 5
    # 145, 45 and 15 of 395 beyond the page become as much of 35, rounded up.
    assert sizes[1:4] == (5 + 13, 5 + 4, 5 + 2)
    assert make_sizes(SimulatorConfig(items=10)) == (10,) * 5
    assert make_sizes(SimulatorConfig(items=800)) == (400, 150, 50, 20, 10)


def test_affinity_has_the_deviations_of_its_weights():
    config = replace(SMALL, users=2_000, quality_weight=0.8)
    world = prepare(config).world
    every = np.tile(np.arange(1_000), (2_000, 1))
    tastes = tastes_at(world, np.arange(2_000), np.zeros(2_000))
    spread = affinity(world, tastes, every).std()
    assert spread == pytest.approx(np.hypot(1.5, 0.8), rel=0.03)
