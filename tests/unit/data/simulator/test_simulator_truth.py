"""The truth of the simulated world: probabilities, uniform exposures, best items."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.simulator.facts import true_top_k, truth, uniform_exposures
from twotower_jax.data.simulator.record import prepare, simulate
from twotower_jax.data.simulator.world import make_world
from twotower_jax.errors import InputError
from twotower_jax.run.truth import stage_truth

CONFIG = SimulatorConfig(users=300, items=1_200, requests=1_500, retrieved=200)


def oracle(config, users, items, moment):
    """Return P(click) of pairs by the formulas of README.md, in float64."""
    world, _, intercept = prepare(config)
    start, turn = world.users.astype(float), world.turns.astype(float)
    angle = config.drift * moment
    taste = np.cos(angle) * start[users] + np.sin(angle) * turn[users]
    taste = np.rint(taste * 64) / 64
    dot = (taste * world.items.astype(float)[items]).sum(axis=-1)
    logit = config.taste_weight * dot / np.sqrt(config.latent_dim) + intercept
    logit += config.quality_weight * world.quality.astype(float)[items]
    return 1 / (1 + np.exp(-logit))


def pairs(n=2_000):
    rng = np.random.default_rng(0)
    return rng.integers(0, 300, n), rng.integers(0, 1_200, n)


@pytest.mark.parametrize("moment", [0.0, 0.3, 1.0])
def test_truth_is_the_formula(moment):
    users, items = pairs()
    found = truth(CONFIG, users, items, moment)
    expected = oracle(CONFIG, users, items, moment)
    np.testing.assert_allclose(found, expected, rtol=3e-6)
    assert found.min() < 0.01 and found.max() > 0.5


def test_truth_is_that_of_the_end_by_default():
    users, items = pairs()
    np.testing.assert_array_equal(
        truth(CONFIG, users, items), truth(CONFIG, users, items, 1.0)
    )
    mixed = truth(CONFIG, users, items, np.where(users % 2, 0.0, 1.0))
    alone = [truth(CONFIG, users, items, moment) for moment in (1.0, 0.0)]
    np.testing.assert_array_equal(mixed, np.where(users % 2, alone[1], alone[0]))


def test_ids_of_the_log_are_those_of_the_world():
    """Features of the log, looked up by id, agree with the truth of the world."""
    config = replace(CONFIG, feature_noise=0.0)
    log, world = simulate(config), make_world(config)
    price = log.item_features["price"].values
    true = world.items[log.item_ids.to_numpy(), 0]
    np.testing.assert_allclose(price, (true - true.mean()) / true.std(), atol=1e-5)
    activity = log.user_features["activity"].values
    true = np.log(world.activity[log.user_ids.to_numpy()])
    np.testing.assert_allclose(activity, (true - true.mean()) / true.std(), atol=1e-5)
    assert log.user_ids.dtype.is_integer() and log.item_ids.dtype.is_integer()


def test_every_item_that_is_looked_at_is_clicked_with_the_truth():
    config = replace(CONFIG, position_bias=0.0, drift=0.0, kept=0)
    log = simulate(config)
    users = log.user_ids.to_numpy()[log.user]
    probability = truth(config, users, log.item_ids.to_numpy()[log.item])
    hit = log.stage == Stage.CLICKED
    deviation = np.sqrt((probability * (1 - probability)).sum())
    assert abs(hit.sum() - probability.sum()) < 3.5 * deviation


def test_uniform_exposures_are_uniform_and_clicked_by_the_truth():
    found = uniform_exposures(CONFIG, number=60_000)
    assert len(found.user) == 60_000
    for ids, size in ((found.user, 300), (found.item, 1_200)):
        counts = np.bincount(ids, minlength=size)
        assert len(counts) == size and stats.chisquare(counts).pvalue > 0.001
    np.testing.assert_array_equal(
        found.probability, truth(CONFIG, found.user, found.item)
    )
    bins = np.searchsorted(
        np.quantile(found.probability, np.linspace(0, 1, 11)[1:-1]), found.probability
    )
    p = found.probability
    z = np.bincount(bins, found.clicked - p) / np.sqrt(np.bincount(bins, p * (1 - p)))
    assert (z**2).sum() < stats.chi2.ppf(0.999, 10)


def test_uniform_exposures_are_less_clicked_than_those_of_the_funnel():
    log = simulate(replace(CONFIG, position_bias=0.0))
    shown = log.stage >= Stage.EXPOSED
    funnel = (log.stage[shown] == Stage.CLICKED).mean()
    unbiased = uniform_exposures(replace(CONFIG, position_bias=0.0), number=20_000)
    assert funnel > 2 * unbiased.clicked.mean() > 0


def test_uniform_exposures_per_user_are_distinct_and_repeatable():
    found = uniform_exposures(CONFIG, per_user=7)
    assert found.user.tolist() == np.repeat(np.arange(300), 7).tolist()
    assert (np.diff(np.sort(found.item.reshape(300, 7), axis=1), axis=1) > 0).all()
    again = uniform_exposures(CONFIG, per_user=7)
    other = uniform_exposures(CONFIG, per_user=7, seed=1)
    np.testing.assert_array_equal(found.item, again.item)
    np.testing.assert_array_equal(found.clicked, again.clicked)
    assert (found.item != other.item).mean() > 0.9
    whole = uniform_exposures(replace(CONFIG, items=30, exposed=5), per_user=30)
    assert (np.sort(whole.item.reshape(300, 30), axis=1) == np.arange(30)).all()


def test_true_top_k_is_the_best_of_every_item():
    users = np.array([5, 3, 299, 3])
    every = np.tile(np.arange(1_200), (4, 1))
    expected = oracle(CONFIG, users[:, None], every, 1.0)
    found = true_top_k(CONFIG, users, 50)
    assert found.shape == (4, 50) and found.dtype == np.int32
    assert found[1].tolist() == found[3].tolist()
    order = np.argsort(-expected, axis=1, kind="stable")
    # float32 affinities: neighbours may change places only where they are equal in it.
    for row in range(4):
        np.testing.assert_allclose(
            expected[row, found[row]], expected[row, order[row, :50]], rtol=3e-6
        )
        assert len(set(found[row])) == 50
    assert (found == order[:, :50]).mean() > 0.99
    early = true_top_k(CONFIG, users, 50, moment=0.0)
    assert (early != found).any()


def test_true_top_k_breaks_ties_by_the_lower_id():
    config = replace(CONFIG, taste_weight=0.0, quality_weight=0.0)
    found = true_top_k(config, np.arange(3), 4)
    assert found.tolist() == [[0, 1, 2, 3]] * 3


def test_blocks_of_users_do_not_matter(monkeypatch):
    users = np.arange(50)
    whole = true_top_k(CONFIG, users, 10)
    pair_users, items = pairs()
    probability = truth(CONFIG, pair_users, items)
    monkeypatch.setattr("twotower_jax.data.simulator.facts._BLOCK", 7_000)
    np.testing.assert_array_equal(true_top_k(CONFIG, users, 10), whole)
    np.testing.assert_array_equal(truth(CONFIG, pair_users, items), probability)


def test_a_changed_configuration_is_another_world():
    """Prepared worlds are cached by value, not by object."""
    config = replace(CONFIG)
    users, items = pairs(200)
    before = truth(config, users, items)
    config.seed = 5
    assert (truth(config, users, items) != before).all()
    config.seed = 0
    np.testing.assert_array_equal(truth(config, users, items), before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: truth(CONFIG, [300], [0]),
            r"users has .*300.*, which is not an id .* 0 to 299",
        ),
        (
            lambda: truth(CONFIG, [0], [-1]),
            r"items has .*-1.*, which is not an id .* to 1199",
        ),
        (lambda: truth(CONFIG, [0.5], [1]), r"users has .*0.5.* give whole numbers"),
        (lambda: truth(CONFIG, [0, 1], [1]), r"2 users and 1 items are not pairs"),
        (lambda: uniform_exposures(CONFIG), r"number=None, per_user=None: exactly one"),
        (
            lambda: uniform_exposures(CONFIG, number=1, per_user=1),
            r"number=1, per_user=1: exactly one of the two",
        ),
        (lambda: uniform_exposures(CONFIG, number=0), r"number=0 .* at least 1"),
        (
            lambda: uniform_exposures(CONFIG, per_user=1_201),
            r"per_user=1201 .* between 1 and data.simulator.items=1200",
        ),
        (lambda: true_top_k(CONFIG, [0], 0), r"k=0 is out of range"),
        (lambda: true_top_k(CONFIG, [0], 1_201), r"k=1201 .*items=1200"),
        (
            lambda: true_top_k(CONFIG, ["a"], 5),
            r"users has .*'a'.*, which is not an id",
        ),
    ],
)
def test_ids_outside_the_world_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_no_pairs_and_no_users_are_empty():
    none = np.zeros(0, int)
    assert truth(CONFIG, none, none).shape == (0,)
    assert true_top_k(CONFIG, none, 3).shape == (0, 3)


def test_the_truth_of_a_stage_is_that_of_its_rows_one_by_one():
    config = replace(CONFIG, requests=120, kept=3)
    log = simulate(config)
    found = stage_truth(DataConfig(simulator=config), log)
    users, items = log.user_ids.to_numpy()[log.user], log.item_ids.to_numpy()[log.item]
    moment = (log.request[:, None] + 0.5) / config.requests
    probability = oracle(config, users, items, moment)
    for stage in Stage:
        rows = log.stage == stage
        shares = []
        for request in np.unique(log.request):
            own = log.request == request
            clicks = probability[own & (log.stage == Stage.CLICKED)]
            others = probability[own & rows]
            if len(clicks) and len(others):
                above = clicks[:, None] - others
                shares.append(((above > 0) + 0.5 * (above == 0)).mean())
        one = found[stage.name.lower()]
        assert one["rows"] == rows.sum()
        assert one["click_rate"] == pytest.approx(probability[rows].mean(), abs=1e-6)
        assert one["auc"] == pytest.approx(np.mean(shares), abs=1e-6)
    # What pre-ranking rejected is clicked least, what came through ranking more.
    rates = [found[stage.name.lower()]["click_rate"] for stage in Stage]
    assert rates == sorted(rates)


def test_only_a_simulated_world_has_a_truth_of_its_stages():
    assert stage_truth(DataConfig(source="table", path="a.csv"), simulate(CONFIG)) == {}
