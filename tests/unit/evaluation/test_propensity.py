"""Inverse propensities, and recall weighted by them."""

import numpy as np
import pytest

from twotower_jax.evaluation.metrics import ranking_metrics
from twotower_jax.evaluation.ragged import Ragged, from_pairs
from twotower_jax.evaluation.ranking import inverse_propensities

K = 100


def means(items, positives, weights):
    """Recall and ips_recall at the lists' length, means over queries."""
    k = items.shape[1]
    values = ranking_metrics(items, positives, [k], weights=weights)
    return (
        float(np.nanmean(values[f"{name}@{k}"])) for name in ("recall", "ips_recall")
    )


def test_by_hand():
    # Items 0, 1 and 2 have 16, 4 and no training clicks: v = 1/4, 1/2, 1.
    # Query means: (1/4 + 1) / 2, 1/2 and 1; the split's mean is 17/24.
    positives = from_pairs([0, 0, 1, 2], [0, 2, 1, 2], 3)
    weights = inverse_propensities(np.array([16, 4, 0]), positives, 0.5, 10.0)
    np.testing.assert_allclose(weights, np.array([6, 12, 24]) / 17, rtol=1e-12)
    items = np.array([[2, 1], [0, 1], [0, 1]])
    values = ranking_metrics(items, positives, [1, 2], weights=weights)
    np.testing.assert_allclose(values["ips_recall@1"], [12 / 17, 0, 0])
    np.testing.assert_allclose(values["ips_recall@2"], [12 / 17, 12 / 17, 0])


def test_a_weight_is_clipped_at_a_multiple_of_the_mean_and_the_mean_is_1_again():
    positives = Ragged(np.arange(5), np.array([0, 0, 0, 1]))
    counts = np.array([100, 1])  # v = .01 three times and 1 once; the mean is .2575
    free = inverse_propensities(counts, positives, 1.0, 10.0)
    np.testing.assert_allclose(free, np.array([0.01, 1]) / 0.2575)
    clipped = inverse_propensities(counts, positives, 1.0, 2.0)
    np.testing.assert_allclose(clipped[1] / clipped[0], 2 * 0.2575 / 0.01)
    np.testing.assert_allclose(clipped[positives.items].mean(), 1)


def test_equal_weights_give_recall_and_all_positives_give_1():
    rng = np.random.default_rng(0)
    chosen = rng.random((50, 30)) < 0.2
    positives = from_pairs(*np.nonzero(chosen), 50)
    counts = rng.integers(0, 90, 30)
    items = np.argsort(rng.random((50, 30)), axis=1)[:, :10]
    recall, ips = means(items, positives, inverse_propensities(counts, positives, 0, 1))
    assert ips == pytest.approx(recall, rel=1e-12)
    whole = np.tile(np.arange(30), (50, 1))
    weights = inverse_propensities(counts, positives, 1.5, 3.0)
    assert list(means(whole, positives, weights)) == pytest.approx([1, 1], rel=1e-12)


def test_a_query_without_a_positive_counts_in_no_mean():
    positives = Ragged(np.array([0, 1, 1, 2]), np.array([0, 1]))
    weights = inverse_propensities(np.array([4, 1]), positives, 0.5, 10.0)
    np.testing.assert_allclose(weights, [2 / 3, 4 / 3])


def leave_one_out(rng, relevant, exposure):
    """One click per user, drawn by the exposure of the user's relevant items."""
    share = np.cumsum(exposure[relevant], axis=1)
    place = (rng.random((len(share), 1)) * share[:, -1:] > share).sum(axis=1)
    users = np.arange(len(relevant))
    return from_pairs(users, relevant[users, place], len(relevant))


def shown_clicks(rng, relevant, exposure):
    """The relevant items that were shown."""
    shown = rng.random(relevant.shape) < exposure[relevant]
    return from_pairs(np.nonzero(shown)[0], relevant[shown], len(relevant))


@pytest.mark.parametrize("power", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "clicks", [pytest.param(leave_one_out, marks=pytest.mark.slow), shown_clicks]
)
def test_it_is_the_recall_of_a_log_where_every_item_is_shown(power, clicks):
    # A user would click K of 400 items, one of every four neighbours, whatever their
    # exposure. Training clicks are such that exposure = clicks^power.
    rng, users = np.random.default_rng(1), 10_000
    exposure = np.geomspace(0.6, 0.02, 400)
    counts = np.round(1e5 * exposure ** (1 / power))
    relevant = 4 * np.arange(K) + rng.integers(0, 4, (users, K))
    everything = from_pairs(np.repeat(np.arange(users), K), relevant.ravel(), users)
    log = clicks(rng, relevant, exposure)
    weights = inverse_propensities(counts, log, power, 1e9)
    found = []
    for taste in (1, -1):  # one arm prefers popular items, the other rare ones
        utility = taste * np.log(exposure) + rng.gumbel(size=(users, 400))
        items = np.argsort(-utility, axis=1)[:, :K]
        real, _ = means(items, everything, None)
        recall, ips = means(items, log, weights)
        assert ips == pytest.approx(real, rel=0.08)  # three standard errors
        found.append((recall, ips))
    # The arms are equally good. Recall puts the one with popular items far ahead.
    (popular, one), (rare, other) = found
    assert popular > 1.5 * rare and one == pytest.approx(other, rel=0.1)
