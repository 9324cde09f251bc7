"""The simulated world: shape of its log, rates, biases and determinism."""

import time
from dataclasses import replace

import numpy as np
import pytest

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator import _head, affinity, make_world, simulate
from twotower_jax.data.sources import load
from twotower_jax.data.split import split
from twotower_jax.data.summary import describe, fingerprint
from twotower_jax.errors import InputError
from twotower_jax.schema.data import DataConfig, SimulatorConfig

SMALL = SimulatorConfig(users=300, items=1_000, requests=4_000)


@pytest.fixture(scope="module")
def small():
    return simulate(SMALL)


def clicked(log):
    return log.stage == Stage.CLICKED


def test_rows_are_requests_times_exposed_in_order_of_time(small):
    assert len(small.user) == 40_000
    assert small.request.tolist() == np.repeat(np.arange(4_000), 10).tolist()
    moments = small.time.reshape(4_000, 10)
    assert (moments == moments[:, :1]).all()
    assert (np.diff(moments[:, 0]) > 0).all()
    users = small.user.reshape(4_000, 10)
    assert (users == users[:, :1]).all()


def test_a_request_shows_no_item_twice(small):
    items = np.sort(small.item.reshape(4_000, 10), axis=1)
    assert (np.diff(items, axis=1) > 0).all()


def test_stages_are_exposed_and_clicked_at_the_click_rate(small):
    assert set(small.stage.tolist()) == {Stage.EXPOSED, Stage.CLICKED}
    # 40,000 draws: the standard deviation of the rate is below 0.0020.
    assert clicked(small).mean() == pytest.approx(0.2, abs=0.008)


def test_catalogue_is_every_item_and_features_have_one_row_an_entity(small):
    assert small.num_items == 1_000
    assert small.item_ids.sort().to_list() == list(range(1_000))
    kinds = {name: value.kind for name, value in small.user_features.items()}
    assert kinds == {"segment": "categorical", "activity": "numeric"}
    kinds = {name: value.kind for name, value in small.item_features.items()}
    assert kinds == {"category": "categorical", "tags": "multi", "price": "numeric"}
    for features, n in (
        (small.user_features, small.num_users),
        (small.item_features, small.num_items),
    ):
        assert all(len(feature.values) == n for feature in features.values())


def test_same_config_same_log_other_seed_other_log(small):
    again, other = simulate(SMALL), simulate(replace(SMALL, seed=1))
    np.testing.assert_array_equal(small.item, again.item)
    np.testing.assert_array_equal(small.stage, again.stage)
    assert small.item_ids.equals(again.item_ids)
    assert small.item[:500].tolist() != other.item[:500].tolist()


def test_clicks_fall_with_the_position_by_the_power_law():
    # Without taste the click rate at position k is proportional to k ** -bias.
    config = replace(SMALL, taste_weight=0.0, position_bias=1.0, requests=20_000)
    rates = clicked(simulate(config)).reshape(-1, 10).mean(axis=0)
    expected = 0.2 / np.mean(1 / np.arange(1, 11)) / np.arange(1, 11)
    # 20,000 draws a position: four standard deviations are at most 0.015.
    np.testing.assert_allclose(rates, expected, atol=0.015)


def test_without_position_bias_or_taste_all_positions_are_alike():
    config = replace(SMALL, taste_weight=0.0, position_bias=0.0, requests=20_000)
    rates = clicked(simulate(config)).reshape(-1, 10).mean(axis=0)
    np.testing.assert_allclose(rates, 0.2, atol=0.0115)


def test_affinity_has_the_deviation_of_taste_weight_and_drives_clicks(small):
    world = make_world(SMALL, np.random.default_rng(SMALL.seed))
    every = affinity(world, np.arange(300), np.tile(np.arange(1_000), (300, 1)))
    assert every.std() == pytest.approx(1.5, rel=0.1)
    users = small.user_ids.to_numpy()[small.user]
    items = small.item_ids.to_numpy()[small.item]
    liking = affinity(world, users, items[:, None])[:, 0]
    hit = clicked(small)
    # Shown items are liked more than items at random, and clicked ones yet more.
    assert liking.mean() > every.mean() + 0.5
    assert liking[hit].mean() > liking[~hit].mean() + 0.3


def test_popularity_is_zipf():
    world = make_world(SMALL, np.random.default_rng(0))
    ranked = np.sort(world.popularity)[::-1]
    np.testing.assert_allclose(ranked[0] / ranked[[1, 9, 99]], [2, 10, 100])
    assert world.popularity.sum() == pytest.approx(1)
    flat = make_world(replace(SMALL, zipf_exponent=0.0), np.random.default_rng(0))
    np.testing.assert_allclose(flat.popularity, 1e-3)


def test_a_steeper_zipf_concentrates_clicks(small):
    config = DataConfig()

    def share(log):
        return describe(log, split(log, config))["top 1% share"]

    flat = simulate(replace(SMALL, zipf_exponent=0.0))
    assert share(small) > 3 * share(flat)


def test_features_tell_of_the_taste(small):
    world = make_world(SMALL, np.random.default_rng(SMALL.seed))
    segment = small.user_features["segment"].values
    best = world.users[small.user_ids.to_numpy()].argmax(axis=1)
    # One segment for each taste axis, and the same one for the same axis.
    assert len(set(zip(segment.tolist(), best.tolist(), strict=True))) == 8
    price = small.item_features["price"].values
    first = world.items[small.item_ids.to_numpy(), 0]
    # Noise of deviation 1/2 on a unit signal: correlation 1 / sqrt(1.25).
    assert np.corrcoef(price, first)[0, 1] == pytest.approx(0.894, abs=0.03)


@pytest.mark.parametrize(
    "config",
    [
        SimulatorConfig(users=2, items=3, requests=20, exposed=3, click_rate=0.1),
        SimulatorConfig(users=5, items=250, requests=8, exposed=230, click_rate=0.02),
        # 200 draws have too few distinct items: the whole catalogue is drawn from.
        SimulatorConfig(users=5, items=500, requests=50, zipf_exponent=5.0),
        SimulatorConfig(users=5, items=30, requests=50, latent_dim=1),
        SimulatorConfig(users=5, items=30, requests=50, taste_weight=100.0),
    ],
)
def test_corners_show_distinct_items(config):
    log = simulate(config)
    shown = np.sort(log.item.reshape(config.requests, config.exposed), axis=1)
    assert (np.diff(shown, axis=1) > 0).all()
    assert np.isfinite(log.time).all()


def test_the_head_leaves_out_a_ten_thousandth_of_what_follows_the_first_k():
    order = np.arange(5)[::-1]
    # Behind the first: 0.1 + 0.1 + 5e-6 + 5e-6; the last two are below 1e-4 of it.
    cumulative = np.cumsum([0.79999, 0.1, 0.1, 5e-6, 5e-6])
    assert _head(order, cumulative, 1).tolist() == [4, 3, 2]
    # Behind the first three it is the first of the two that counts.
    assert _head(order, cumulative, 3).tolist() == [4, 3, 2, 1, 0]
    assert _head(order, cumulative, 5).tolist() == [4, 3, 2, 1, 0]


def test_click_rate_zero_and_one():
    none = simulate(replace(SMALL, click_rate=0.0, requests=100))
    assert clicked(none).sum() == 0
    every = simulate(replace(SMALL, click_rate=1.0, position_bias=0.0, requests=100))
    assert clicked(every).all()


def test_a_click_rate_above_the_examination_rate_is_refused():
    # Mean of k ** -0.7 over k = 1..10 is 0.397.
    message = (
        r"click_rate=0.5 cannot be reached: .* probability 0.397 on average; lower"
    )
    with pytest.raises(InputError, match=message):
        simulate(replace(SMALL, click_rate=0.5))


def test_the_default_world_has_its_size_and_is_quick():
    start = time.perf_counter()
    log = load(DataConfig())
    seconds = time.perf_counter() - start
    assert (len(log.user), log.num_items) == (500_000, 20_000)
    assert 4_900 < log.num_users <= 5_000
    assert clicked(log).sum() == pytest.approx(100_000, rel=0.02)
    # About two seconds; the limit only catches a loop over requests or exposures.
    assert seconds < 30
    assert len(fingerprint(log, split(log, DataConfig()))) == 12
