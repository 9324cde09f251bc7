"""What the world is made of: tastes, popularity, channels, stages, features, drift."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator import make_world, simulate, true_top_k, truth
from twotower_jax.data.simulator.arrays import best, choose, dots, smallest, stream
from twotower_jax.data.simulator.clicks import pages
from twotower_jax.data.simulator.features import item_features
from twotower_jax.data.simulator.funnel import judge, repeats
from twotower_jax.data.simulator.groups import draw_in_groups, make_groups
from twotower_jax.data.simulator.record import prepare
from twotower_jax.data.simulator.retrieval import (
    FILLER,
    POPULAR,
    SIMILAR,
    TASTE,
    _popular,
    quotas,
    retrieve,
)
from twotower_jax.data.simulator.world import affinity, alive_at, tastes_at
from twotower_jax.schema.data import SimulatorConfig

CONFIG = SimulatorConfig(users=500, items=4_000, requests=3_000, kept=10)


@pytest.fixture(scope="module")
def world():
    return make_world(CONFIG)


@pytest.fixture(scope="module")
def log():
    return simulate(CONFIG)


def item_ids(log):
    return log.item_ids.to_numpy()[log.item]


def user_ids(log):
    return log.user_ids.to_numpy()[log.user]


# --- arrays --------------------------------------------------------------------------


def test_dot_products_of_tastes_are_exact_in_float32(world):
    """Whole numbers give the same, so no order of summation can matter."""
    tastes, items = world.users[:50], world.items[:300]
    whole = (tastes * 64).astype(np.int64) @ (items * 64).astype(np.int64).T
    assert ((tastes * 64) == (tastes * 64).astype(np.int64)).all()
    np.testing.assert_array_equal(tastes @ items.T, whole / 4096)
    table = np.broadcast_to(items, (50, 300, 8))
    np.testing.assert_array_equal(dots(tastes, table), whole / 4096)


def test_best_is_a_stable_descending_sort():
    rng = np.random.default_rng(0)
    scores = np.rint(rng.standard_normal((40, 60)) * 4).astype(np.float32) / 4
    scores[:, ::7] = -np.inf
    scores[0, :5] = [0.0, -0.0, 0.0, 1e-45, -1e-45]
    expected = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
    for k in (0, 1, 17, 60):
        np.testing.assert_array_equal(best(scores, k), expected[:, :k])
    keys = rng.integers(0, 9, (10, 30))
    np.testing.assert_array_equal(
        smallest(keys, 12), np.argsort(keys, axis=1, kind="stable")[:, :12]
    )


def test_choose_draws_every_subset_alike():
    drawn = choose(np.random.default_rng(0), 30_000, 5, 2)
    assert (drawn[:, 0] < drawn[:, 1]).all()
    counts = np.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=25)
    assert stats.chisquare(counts[counts > 0]).pvalue > 0.001
    assert (counts > 0).sum() == 10
    assert choose(np.random.default_rng(0), 3, 4, 9).tolist() == [[0, 1, 2, 3]] * 3


def test_streams_differ_by_seed_name_and_block_and_a_block_stands_alone():
    names = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    draws = [stream(*name).integers(0, 1 << 60, 4).tolist() for name in names]
    assert len({tuple(draw) for draw in draws}) == 4
    assert stream(0, "a", 1).integers(0, 1 << 60, 4).tolist() == draws[3]


def test_draws_in_groups_are_uniform_over_those_that_are_there():
    groups = make_groups(np.array([0, 1, 0, 2, 0, 1, 0]), 4)
    uniform = np.random.default_rng(0).random((1, 1, 9_000))
    drawn = draw_in_groups(groups, np.array([[0]]), np.array([5]), uniform)
    counts = np.bincount(drawn.ravel(), minlength=7)
    assert counts[[1, 3, 5, 6]].sum() == 0
    assert stats.chisquare(counts[[0, 2, 4]]).pvalue > 0.001
    asked = np.array([[1, 2, 3, -1]])
    few = draw_in_groups(groups, asked, np.array([3]), uniform[..., :8].repeat(4, 1))
    assert set(few[0, 0]) == {1}
    assert (few[0, 1:] == -1).all()


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


def test_the_popular_channel_draws_by_popularity_among_what_has_appeared(world):
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


def test_a_steeper_zipf_and_a_stronger_pull_concentrate_clicks(log):
    def share(log):
        hit = log.stage == Stage.CLICKED
        counts = np.sort(np.bincount(log.item[hit], minlength=4_000))[::-1]
        return counts[:40].sum() / counts.sum()

    flat = simulate(replace(CONFIG, zipf_exponent=0.0))
    unpulled = simulate(replace(CONFIG, popularity_pull=0.0))
    assert share(log) > 2 * share(flat)
    assert share(log) > 1.5 * share(unpulled)


# --- retrieval -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def retrieved(world):
    """Return 400 requests of users with 30 clicked items each, and what they got."""
    rng = np.random.default_rng(1)
    history = np.full((400, 50), -1, np.int32)
    history[:, :30] = rng.permuted(np.tile(np.arange(3_000), (400, 1)), axis=1)[:, :30]
    tastes = tastes_at(world, np.arange(400), np.full(400, 0.5))
    alive = alive_at(world, np.full(400, 0.5))
    return history, tastes, alive, retrieve(world, tastes, history, alive, rng)


def test_retrieved_items_are_distinct_there_and_not_clicked(world, retrieved):
    history, _, alive, found = retrieved
    assert found.items.shape == (400, 400)
    assert (np.diff(np.sort(found.items, axis=1), axis=1) > 0).all()
    assert (found.items >= 0).all() and (found.items < alive[:, None]).all()
    for clicked, items in zip(history, found.items, strict=True):
        assert not set(clicked) & set(items)


def test_channels_differ(world, retrieved):
    history, tastes, _, found = retrieved
    assert quotas(world) == (133, 134, 133)
    shares = [(found.channel == name).mean() for name in range(4)]
    assert min(shares[:3]) > 0.15 and shares[FILLER] < 0.1
    weights = np.diff(world.cumulative, prepend=0).astype(float)
    fame = stats.rankdata(weights)[found.items] / 4_000
    liking = affinity(world, tastes, found.items)

    def mean(values, name):
        return values[found.channel == name].mean()

    assert mean(fame, POPULAR) > 0.8
    assert 0.4 < mean(fame, SIMILAR) < 0.6
    assert 0.4 < mean(fame, TASTE) < 0.6
    # A standard deviation of affinities is 1.53; the popular are liked a little more
    # than others for their quality, those of the taste channel much more.
    assert mean(liking, TASTE) > mean(liking, POPULAR) + 1
    assert abs(mean(liking, SIMILAR)) < 0.1
    for row in range(50):
        authors = set(world.authors.of[history[row, :30]])
        similar = found.items[row][found.channel[row] == SIMILAR]
        assert set(world.authors.of[similar]) <= authors
        assert len(similar) > 20


def test_a_noisier_taste_finds_worse_items():
    def liking(noise):
        config = replace(CONFIG, retrieval_noise=noise, from_popular=0, from_similar=0)
        world, rng = make_world(config), np.random.default_rng(0)
        tastes = tastes_at(world, np.arange(200), np.zeros(200))
        history = np.full((200, 50), -1, np.int32)
        found = retrieve(world, tastes, history, alive_at(world, np.zeros(200)), rng)
        taste = found.channel == TASTE
        return affinity(world, tastes, found.items)[taste].mean()

    quiet, middle, loud = liking(0.0), liking(0.5), liking(3.0)
    assert quiet > middle + 0.05 > loud + 0.3


def test_the_similar_channel_knows_the_clicks_of_requests_before():
    """Replayed from what was clicked, for every request of the log."""
    config = replace(CONFIG, users=60, requests=400, history=1_000)
    world, requests, intercept = prepare(config)
    clicked = {user: set() for user in range(60)}
    some = 0
    for page in pages(world, requests, lambda _: intercept):
        for row, user in enumerate(page.requests.user):
            similar = page.candidates.channel[row] == SIMILAR
            authors = world.authors.of[page.candidates.items[row][similar]]
            known = set(world.authors.of[list(clicked[user])])
            assert set(authors) <= known
            some += len(set(authors)) > 5
            shown = page.stages[Stage.EXPOSED].items[row]
            clicked[user] |= set(shown[page.clicked[row]].tolist())
    assert some > 100


# --- stages --------------------------------------------------------------------------


def test_repeats_counts_equal_ones_before():
    groups = np.array([[5, 5, 2, 5, 2], [1, 2, 3, 4, 1]])
    assert repeats(groups).tolist() == [[0, 1, 0, 2, 1], [0, 0, 0, 0, 1]]


def test_reranking_is_a_greedy_choice_for_variety(world):
    tastes = tastes_at(world, np.arange(20), np.zeros(20))
    items = np.stack(
        [np.random.default_rng(u).permutation(4_000)[:400] for u in range(20)]
    )
    # The last stages alone: no noise, so that ranking scores are known.
    config = replace(CONFIG, pre_ranking_noise=0, ranking_noise=0, popularity_pull=0)
    quiet = world._replace(config=replace(config, variety=0.5))
    stages = judge(quiet, tastes, items.astype(np.int32), np.random.default_rng(0))
    scores = affinity(quiet, tastes, items)
    for row in range(20):
        order = np.argsort(-scores[row], kind="stable")[:50]
        left, chosen, authors = list(order), [], {}
        while len(chosen) < 20:
            value = [
                scores[row, i] - 0.5 * authors.get(world.authors.of[items[row, i]], 0)
                for i in left
            ]
            pick = left.pop(int(np.argmax(value)))
            author = world.authors.of[items[row, pick]]
            authors[author] = authors.get(author, 0) + 1
            chosen.append(items[row, pick])
        assert stages[Stage.EXPOSED].items[row].tolist() == chosen[:10]
        assert stages[Stage.RE_RANKED].items[row].tolist() == chosen[10:]


def test_variety_puts_more_authors_on_a_page():
    def authors(variety):
        config = replace(CONFIG, variety=variety, requests=300, kept=0)
        world, log = prepare(config).world, simulate(config)
        by = world.authors.of[item_ids(log)].reshape(300, 10)
        return np.mean([len(set(row)) for row in by])

    few, some, many = authors(0.0), authors(0.3), authors(3.0)
    assert few + 0.3 < some and some + 0.3 < many


def test_scores_fall_within_every_stage_and_from_stage_to_stage(world):
    _, requests, intercept = prepare(CONFIG)
    page = next(pages(world, requests, lambda _: intercept))
    shown, late = page.stages[Stage.EXPOSED], page.stages[Stage.RE_RANKED]
    for line in page.stages.values():
        assert (np.diff(line.scores, axis=1) <= 0).all()
    for line in (late, page.stages[Stage.RANKED]):
        assert (shown.scores.min(axis=1) >= line.scores.max(axis=1)).all()
        shown = line


def test_hardness_grows_with_the_stage(log):
    """Mean true click probability, each step by at least ten standard errors."""
    moment = (log.request + 0.5) / CONFIG.requests
    probability = truth(CONFIG, user_ids(log), item_ids(log), moment)
    groups = [probability[np.minimum(log.stage, 4) == stage] for stage in range(5)]
    world = prepare(CONFIG).world
    rng = np.random.default_rng(0)
    easy = truth(CONFIG, rng.integers(0, 500, 30_000), rng.integers(0, 4_000, 30_000))
    for lower, higher in zip([easy, *groups], groups, strict=False):
        error = np.hypot(lower.std(), higher.std()) / np.sqrt(30_000)
        assert higher.mean() > lower.mean() + 10 * error
    assert probability[log.stage == 5].mean() > groups[4].mean() + 0.05
    assert world.sizes == (400, 150, 50, 20, 10)


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


def test_features_tell_of_taste_and_quality(log, world):
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
