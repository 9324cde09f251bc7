"""The small world: its log holds the probabilities without error."""

import numpy as np
import pytest

from twotower_jax.cards.world import make_world, retrieved_items, zipf_counts
from twotower_jax.data.log import Stage

STAGES = (("pre_ranked", 0, None), ("ranked", 10, 14))


@pytest.fixture(scope="module")
def world():
    return make_world(STAGES)


def test_clicks_are_exactly_in_proportion_to_the_probabilities(world):
    train = world.loaded.split.train
    counts = np.zeros(world.probability.shape)
    np.add.at(counts, (world.type_of_user[train.user], train.item), 1)
    np.testing.assert_array_equal(counts, world.probability * counts.sum() / 4)
    assert counts.min() >= 1
    np.testing.assert_array_equal(world.loaded.counts, counts.sum(axis=0))


def test_types_have_tastes_and_a_common_popularity(world):
    logs = np.log(world.probability)
    between = np.corrcoef(logs)[np.triu_indices(len(logs), 1)]
    assert (between > 0.2).all() and (between < 0.9).all()


def test_requests_reject_retrieved_items_and_never_the_clicked_one(world):
    log = world.loaded.log
    clicks = log.stage == Stage.CLICKED
    clicked = log.item[clicks][np.argsort(log.request[clicks])]
    rejected = ~clicks
    assert (log.item[rejected] != clicked[log.request[rejected]]).all()
    assert world.retrieved[
        world.type_of_user[log.user[rejected]], log.item[rejected]
    ].all()
    pairs = np.stack([log.request[rejected], log.item[rejected], log.stage[rejected]])
    assert np.unique(pairs, axis=1).shape == pairs.shape


def test_a_window_of_ranks_is_filled(world):
    log = world.loaded.log
    ranks = log.rank[log.stage == Stage.RANKED]
    assert sorted(set(ranks.tolist())) == [10, 11, 12, 13]


def test_later_stages_reject_items_that_are_liked_more():
    world = make_world((("retrieved", 0, None), ("exposed", 0, None)))
    log = world.loaded.log
    chance = world.probability[world.type_of_user[log.user], log.item]
    early, late = (
        chance[log.stage == stage].mean() for stage in (Stage.RETRIEVED, Stage.EXPOSED)
    )
    assert late > 1.2 * early


def test_a_world_is_the_same_every_time():
    counts = zipf_counts(30, 2, 64)
    np.testing.assert_array_equal(counts, zipf_counts(30, 2, 64))
    np.testing.assert_array_equal(retrieved_items(counts), retrieved_items(counts))
