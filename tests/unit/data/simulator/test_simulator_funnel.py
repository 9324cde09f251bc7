"""The funnel of the simulator: channels of retrieval and later stages."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.small_world import CONFIG, item_ids, user_ids
from scipy import stats

from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.clicks import pages
from twotower_jax.data.simulator.facts import truth
from twotower_jax.data.simulator.funnel import (
    FILLER,
    POPULAR,
    SIMILAR,
    TASTE,
    judge,
    quotas,
    repeats,
    retrieve,
)
from twotower_jax.data.simulator.record import prepare, simulate
from twotower_jax.data.simulator.world import affinity, alive_at, make_world, tastes_at


@pytest.fixture(scope="module")
def world():
    return make_world(CONFIG)


@pytest.fixture(scope="module")
def log():
    return simulate(CONFIG)


# --- retrieval -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def retrieved(world):
    """Return 400 requests of users with 30 clicked items each, and their candidates."""
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
    """Replayed from the clicks, for every request of the log."""
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
