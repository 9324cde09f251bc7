"""Parts of a world: tastes, popularity, features, drift."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.small_world import CONFIG, item_ids
from scipy import stats

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.facts import true_top_k, truth
from twotower_jax.data.simulator.funnel import (
    _popular,
)
from twotower_jax.data.simulator.record import prepare, simulate
from twotower_jax.data.simulator.world import item_features, make_world, tastes_at


@pytest.fixture(scope="module")
def world():
    return make_world(CONFIG)


@pytest.fixture(scope="module")
def log():
    return simulate(CONFIG)


# --- world ---------------------------------------------------------------------------


def test_tastes_of_items_have_one_length_and_scatter_around_their_authors(world):
    lengths = np.sqrt((world.items**2).sum(axis=1))
    np.testing.assert_allclose(lengths, np.sqrt(8), atol=0.03)
    directions = world.items / lengths[:, None]
    author = world.authors.of
    counts = np.bincount(author)
    assert counts.mean() == pytest.approx(20, rel=0.01)
    cosine = directions @ directions.T
    same = author[:, None] == author
    np.fill_diagonal(same, False)
    # Sums of a shared and an own Gaussian: correlation 1 / (1 + 0.7 ** 2) = 0.67.
    assert cosine[same].mean() == pytest.approx(0.67, abs=0.05)
    other = author[:2_000, None] != author[2_000:]
    assert abs(cosine[:2_000, 2_000:][other].mean()) < 0.02


def test_popularity_is_zipf_and_leans_to_quality(world):
    weights = np.diff(world.cumulative, prepend=0)
    ranked = np.sort(weights)[::-1]
    np.testing.assert_allclose(ranked[0] / ranked[[1, 9, 99]], [2, 10, 100])
    flat = make_world(replace(CONFIG, zipf_exponent=0.0))
    assert len(np.unique(np.diff(flat.cumulative))) == 1
    # promise = q / 2 + e: its correlation with q is 0.5 / sqrt(1.25) = 0.447; the
    # spearman correlation of two such Gaussians is 6 / pi asin(0.447 / 2) = 0.431.
    found = stats.spearmanr(weights, world.quality).statistic
    assert found == pytest.approx(0.431, abs=0.05)
    blind = make_world(replace(CONFIG, popular_quality=0.0))
    found = stats.spearmanr(np.diff(blind.cumulative), blind.quality[1:]).statistic
    assert abs(found) < 0.05


def test_the_popular_channel_draws_by_popularity_among_items_that_appeared(world):
    alive = np.full(200, 3_500)
    drawn = _popular(world, alive, 500, np.random.default_rng(0))
    weights = np.diff(world.cumulative, prepend=0)[:3_500].astype(float)
    order = np.argsort(-weights)
    top = order[:300]
    counts = np.bincount(drawn.ravel(), minlength=4_000)
    assert counts[3_500:].sum() == 0
    expected = 100_000 * weights / weights.sum()
    observed = np.append(counts[top], counts[order[300:]].sum())
    wanted = np.append(expected[top], expected[order[300:]].sum())
    assert stats.chisquare(observed, wanted).pvalue > 0.001


@pytest.mark.slow
def test_a_steeper_zipf_and_a_stronger_pull_concentrate_clicks(log):
    def share(log):
        hit = log.stage == Stage.CLICKED
        counts = np.sort(np.bincount(log.item[hit], minlength=4_000))[::-1]
        return counts[:40].sum() / counts.sum()

    flat = simulate(replace(CONFIG, zipf_exponent=0.0))
    unpulled = simulate(replace(CONFIG, popularity_pull=0.0))
    assert share(log) > 2 * share(flat)
    assert share(log) > 1.5 * share(unpulled)


# --- features ------------------------------------------------------------------------


def test_features_have_one_row_an_entity_and_their_kinds(log):
    kinds = {name: value.kind for name, value in log.user_features.items()}
    assert kinds == {"segment": "categorical", "activity": "numeric"}
    kinds = {name: value.kind for name, value in log.item_features.items()}
    assert kinds == {
        "category": "categorical",
        "author": "categorical",
        "tags": "multi",
        "price": "numeric",
        "stars": "numeric",
    }
    for features, n in (
        (log.user_features, log.num_users),
        (log.item_features, log.num_items),
    ):
        assert all(len(feature.values) == n for feature in features.values())
    assert log.item_ids.sort().to_list() == list(range(4_000))


def test_features_depend_on_taste_and_quality(log, world):
    items = log.item_ids.to_numpy()
    price = log.item_features["price"].values
    # Noise of deviation 1/2 on a signal of deviation 1: correlation 1 / sqrt(1.25).
    assert np.corrcoef(price, world.items[items, 0])[0, 1] == pytest.approx(
        0.894, abs=0.03
    )
    stars = log.item_features["stars"].values
    assert np.corrcoef(stars, world.quality[items])[0, 1] == pytest.approx(
        0.894, abs=0.03
    )
    author = log.item_features["author"].values
    pairs = set(zip(author.tolist(), world.authors.of[items].tolist(), strict=True))
    assert len(pairs) == len({code for code, _ in pairs}) == len({a for _, a in pairs})
    # Means within groups of a feature explain part of the variance of the tastes.
    for name, low, high in (("category", 0.15, 0.5), ("author", 0.55, 0.8)):
        codes = log.item_features[name].values
        counts = np.bincount(codes)
        explained = 0.0
        for axis in world.items[items].T:
            means = np.bincount(codes, axis) / counts
            explained += (counts * (means - axis.mean()) ** 2).sum() / len(axis)
        assert low < explained / 8 < high


def test_features_predict_clicks(log):
    """A user's segment and an item's category are named after the same axes."""
    world = prepare(replace(CONFIG, feature_noise=0.0)).world
    features = item_features(world, log.item_ids)
    users = log.user_ids.to_numpy()
    best_axis = world.users[users].argmax(axis=1)
    segment = log.user_features["segment"].values
    joint = np.zeros((8, 8))
    np.add.at(joint, (segment, best_axis), 1)
    # The noise of features leaves most users in the segment of their taste.
    assert joint.max(axis=1).sum() / joint.sum() > 0.6
    category = features["category"].values
    axis = world.items[log.item_ids.to_numpy()].argmax(axis=1)
    assert len(set(zip(category.tolist(), axis.tolist(), strict=True))) == 8
    rng = np.random.default_rng(0)
    row, column = rng.integers(0, len(users), 40_000), rng.integers(0, 4_000, 40_000)
    items = log.item_ids.to_numpy()
    probability = truth(CONFIG, users[row], items[column], 0.0)
    match = best_axis[row] == axis[column]
    assert probability[match].mean() > 2 * probability[~match].mean()


def test_tags_are_the_axes_that_stand_out():
    config = replace(CONFIG, feature_noise=0.0, requests=100)
    log, world = simulate(config), make_world(config)
    tags = log.item_features["tags"].values
    high = world.items[log.item_ids.to_numpy()] > 1
    assert ((tags >= 0).sum(axis=1) == high.sum(axis=1)).all()
    # A code stands for one axis: items with it are high along that axis.
    for code in range(8):
        having = (tags == code).any(axis=1)
        assert (having == high.T).all(axis=1).sum() == 1


# --- time ----------------------------------------------------------------------------


def test_items_are_shown_only_after_they_appeared(log, world):
    assert world.old == 3_200
    items, moment = item_ids(log), (log.request + 0.5) / CONFIG.requests
    # The n-th new item of 800 is there from n / 800 of the time on.
    assert (moment >= (items - 3_199) / 800).all()
    # New ones are retrieved soon, and late requests have many of them.
    late = moment > 0.9
    assert (items[late] >= 3_200).mean() > 0.1
    assert (items[moment < 0.01] < 3_208).all()


def test_without_growth_every_item_is_there_from_the_beginning():
    config = replace(CONFIG, growth=0.0, requests=300)
    assert make_world(config).old == 4_000
    items = item_ids(simulate(config))[: 20 * 50]
    assert (items >= 3_200).mean() == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize("drift", [0.0, 0.5, np.pi / 2])
def test_tastes_turn_by_the_angle_of_drift(drift):
    world = make_world(replace(CONFIG, users=2_000, drift=drift))
    users = np.arange(2_000)
    begin, middle, end = (
        tastes_at(world, users, np.full(2_000, t)) for t in (0, 0.5, 1)
    )
    np.testing.assert_array_equal(begin, world.users)
    found = np.corrcoef(begin.ravel(), end.ravel())[0, 1]
    assert found == pytest.approx(np.cos(drift), abs=0.03)
    found = np.corrcoef(begin.ravel(), middle.ravel())[0, 1]
    assert found == pytest.approx(np.cos(drift / 2), abs=0.03)
    assert end.std() == pytest.approx(1, abs=0.03)


def test_drift_makes_old_favourites_stale():
    def kept(drift):
        config = replace(CONFIG, drift=drift, requests=300)
        users = np.arange(200)
        old, new = (true_top_k(config, users, 100, moment=t) for t in (0.0, 1.0))
        return np.mean([len(set(a) & set(b)) for a, b in zip(old, new, strict=True)])

    assert kept(0.0) == 100
    assert 10 < kept(1.0) < kept(0.5) < 90
