"""Exact products, stable order and draws of the simulator."""

import numpy as np
import pytest
from helpers.small_world import CONFIG
from scipy import stats

from twotower_jax.data.simulator.arrays import best, choose, dots, smallest, stream
from twotower_jax.data.simulator.world import draw_in_groups, make_groups, make_world


@pytest.fixture(scope="module")
def world():
    return make_world(CONFIG)


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
