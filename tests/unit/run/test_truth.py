"""Metrics against the truth of a small world, by brute force and by special lists."""

import numpy as np
import pytest

from twotower_jax.config import from_dict
from twotower_jax.data.simulator.facts import true_top_k, truth, uniform_exposures
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.run.loader import load_data
from twotower_jax.run.truth import make_truth, true_metrics

USERS, ITEMS, K = 40, 300, 10
CONFIG = from_dict(
    {
        "data": {
            "simulator": {
                "users": USERS,
                "items": ITEMS,
                "requests": 600,
                "growth": 0.5,
            }
        },
        "evaluation": {"k": [5, K], "uniform_exposures": 100},
    }
)
WORLD = CONFIG.data.simulator


@pytest.fixture(scope="module")
def data():
    return load_data(CONFIG)


@pytest.fixture(scope="module")
def chances(data):
    """P(click | looked at) of every user and item, by code."""
    user, item = data.log.user_ids.to_numpy(), data.log.item_ids.to_numpy()
    pairs = np.meshgrid(user, item, indexing="ij")
    p = truth(WORLD, *(ids.reshape(-1) for ids in pairs))
    return p.reshape(len(user), len(item))


def truths_of(data, users, seen=None):
    truths = make_truth(CONFIG.data, CONFIG.evaluation, data, users, seen)
    assert truths is not None
    return truths


def test_the_best_items_are_those_of_the_world(data):
    users = np.arange(data.log.num_users)
    best = truths_of(data, users).best
    ids = data.log.item_ids.to_numpy()[best]
    expected = true_top_k(WORLD, data.log.user_ids.to_numpy(), K)
    chance = truth(WORLD, np.repeat(data.log.user_ids.to_numpy(), K), ids.reshape(-1))
    expected = truth(
        WORLD, np.repeat(data.log.user_ids.to_numpy(), K), expected.reshape(-1)
    )
    np.testing.assert_array_equal(chance, expected)  # equally good ones may swap


def test_the_truly_best_lists_are_perfect_and_the_worst_find_nothing(data, chances):
    users = np.arange(data.log.num_users)
    buckets = np.arange(data.log.num_items) % 3
    order = np.argsort(-chances, axis=1, kind="stable")
    perfect = true_metrics(
        truths_of(data, users), truths_of(data, users).best, buckets, [5, K]
    )
    worst = true_metrics(truths_of(data, users), order[:, ::-1][:, :K], buckets, [5, K])
    for k in (5, K):
        np.testing.assert_array_equal(perfect[f"true_recall@{k}"], 1)
        np.testing.assert_allclose(perfect[f"true_gain@{k}"], 1, rtol=1e-12)
        np.testing.assert_array_equal(worst[f"true_recall@{k}"], 0)
        assert (worst[f"true_gain@{k}"] < 0.5).all()
    top = np.sort(chances, axis=1)[:, ::-1][:, :K].mean(axis=1)
    np.testing.assert_allclose(perfect[f"true_ctr@{K}"], top, rtol=1e-9)


def test_values_of_random_lists_are_those_of_a_loop(data, chances):
    rng = np.random.default_rng(0)
    users = np.array([3, 5, 11])
    lists = np.stack([rng.permutation(data.log.num_items)[:K] for _ in users])
    buckets = rng.integers(0, 3, data.log.num_items)
    truths = truths_of(data, users)
    values = true_metrics(truths, lists, buckets, [K])
    for row, user in enumerate(users):
        best = truths.best[row]
        hits = np.isin(best, lists[row])
        assert values[f"true_recall@{K}"][row] == pytest.approx(hits.mean())
        assert values[f"true_ctr@{K}"][row] == pytest.approx(
            chances[user, lists[row]].mean()
        )
        tail = buckets[best] == 2
        expected = hits[tail].mean() if tail.any() else np.nan
        np.testing.assert_allclose(values[f"true_recall@{K}/tail"][row], expected)


def test_masked_items_are_neither_best_nor_clicked(data):
    users = np.array([0, 1])
    first = truths_of(data, users).best[:, 0]
    seen = from_pairs([0, 1], first, 2)
    masked = truths_of(data, users, seen)
    assert not (masked.best == first[:, None]).any()
    assert masked.uniform is not None
    assert not set(masked.uniform.items[masked.uniform.rows == 0]) & {int(first[0])}


def test_uniform_recall_is_of_the_clicks_of_uniform_exposures(data):
    users = np.arange(data.log.num_users)
    truths = truths_of(data, users)
    shown = uniform_exposures(WORLD, per_user=100)
    ids = data.log.user_ids.to_numpy()
    clicks = {
        int(u): {int(i) for i in shown.item[(shown.user == u) & shown.clicked]}
        for u in ids
    }
    lists = truths.best
    values = true_metrics(truths, lists, np.zeros(data.log.num_items, int), [K])
    items = data.log.item_ids.to_numpy()
    for row, user in enumerate(ids):
        found = {int(i) for i in items[lists[row]]} & clicks[int(user)]
        if not clicks[int(user)]:
            assert np.isnan(values[f"uniform_recall@{K}"][row])
            continue
        expected = len(found) / len(clicks[int(user)])
        assert values[f"uniform_recall@{K}"][row] == pytest.approx(expected)


def test_only_a_simulated_world_has_a_truth(data):
    other = from_dict({"data": {"source": "table", "path": "x.csv"}})
    assert make_truth(other.data, other.evaluation, data, np.arange(2), None) is None
    off = from_dict({"evaluation": {"truth": False}})
    assert make_truth(CONFIG.data, off.evaluation, data, np.arange(2), None) is None
