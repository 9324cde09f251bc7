"""Baselines against the conditions of their optima, and against slow loops."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.model.towers import BASELINES
from twotower_jax.model.towers import ease as ease_module
from twotower_jax.model.towers import ials as ials_module
from twotower_jax.model.towers import item_knn as knn_module
from twotower_jax.model.towers.choice import click_matrix
from twotower_jax.model.towers.ease import Ease, EaseConfig
from twotower_jax.model.towers.ials import (
    Ials,
    IalsConfig,
    initial_factors,
    solve_factors,
)
from twotower_jax.model.towers.item_knn import (
    ItemKnn,
    ItemKnnConfig,
    neighbours,
)

USERS, ITEMS = 60, 35


@pytest.fixture(scope="module")
def clicks():
    """Clicks with repeated pairs, a user and two items without any."""
    rng = np.random.default_rng(0)
    user = rng.integers(1, USERS, 500)
    item = np.minimum(rng.geometric(0.12, 500), ITEMS - 2)
    return click_matrix(user, item, (USERS, ITEMS))


def dense(clicks):
    return (clicks.toarray() > 0).astype(float)


# --- EASE ----------------------------------------------------------------------------


def weights_of(clicks, l2):
    """Return the weights B: the scores of histories of one item each."""
    one_each = click_matrix(*np.diag_indices(clicks.shape[1]), (clicks.shape[1],) * 2)
    return Ease().fit(clicks, EaseConfig(l2), 0)(one_each).astype(float)


@pytest.fixture(params=["more users", "more items"])
def some_clicks(request, clicks):
    """The clicks; with more items, users and items swap their places."""
    swapped = click_matrix(*clicks.nonzero()[::-1], clicks.shape[::-1])
    return clicks if request.param == "more users" else swapped


@pytest.mark.parametrize("double", [2**14, 1])
@pytest.mark.parametrize(("block", "largest"), [(7, 4), (512, 2**13)])
def test_ease_satisfies_the_conditions_of_its_optimum(
    some_clicks, block, largest, double, monkeypatch
):
    """G B - G + l2 B = diag(multipliers), and diag(B) = 0: the objective is convex.

    Also where the matrix is inverted by halves of halves, and in float32.
    """
    monkeypatch.setattr(ease_module, "BLOCK", block)
    monkeypatch.setattr(ease_module, "LARGEST", largest)
    monkeypatch.setattr(ease_module, "DOUBLE", double)
    x, l2 = dense(some_clicks), 3.0
    weights = weights_of(some_clicks, l2)
    np.testing.assert_allclose(np.diag(weights), 0, atol=1e-6)
    gram = x.T @ x
    slope = gram @ weights - gram + l2 * weights
    others = ~np.eye(len(gram), dtype=bool)
    np.testing.assert_allclose(slope[others], 0, atol=5e-5)
    assert np.abs(np.diag(slope)).max() > 1  # the constraint binds


def test_no_other_weights_are_better(some_clicks):
    x, l2 = dense(some_clicks), 3.0
    best = weights_of(some_clicks, l2)

    def objective(weights):
        return ((x - x @ weights) ** 2).sum() + l2 * (weights**2).sum()

    rng = np.random.default_rng(1)
    for scale in (1e-3, 1e-2, 0.1):
        change = rng.normal(size=best.shape) * (1 - np.eye(len(best)))
        assert objective(best + scale * change) > objective(best)


def test_ease_scores_are_the_weights_of_the_history(some_clicks):
    """Repeated clicks count once; an item without a click gives and gets nothing."""
    x, items = dense(some_clicks), some_clicks.shape[1]
    history = click_matrix(np.array([0, 0, 0]), np.array([3, 5, 5]), (1, items))
    numbers = EaseConfig(l2=3.0)
    scores = Ease().fit(some_clicks, numbers, 0)(history)
    weights = weights_of(some_clicks, 3.0)
    np.testing.assert_allclose(scores[0], weights[3] + weights[5], atol=1e-6)
    never = np.flatnonzero(x.sum(axis=0) == 0)
    assert len(never) and (scores[0, never] == 0).all()
    unknown = click_matrix(np.array([0]), never[:1], (1, items))
    assert (Ease().fit(some_clicks, numbers, 0)(unknown) == 0).all()


def test_the_free_memory_decides_the_form_of_the_fit(monkeypatch):
    """12 bytes per pair of rows in float64, 6 in float32, measured at the fit."""
    size = 4_000
    each = np.arange(size)
    clicks, numbers = click_matrix(each, each, (size, size)), EaseConfig()

    def inverse(rows, l2, dtype):
        return np.asfortranarray(np.eye(len(each), dtype=dtype))

    monkeypatch.setattr(ease_module, "_inverse", inverse)
    monkeypatch.setattr(ease_module, "SHARE", 1.0)
    monkeypatch.setattr(ease_module, "BLOCK", 2**24 // (32 * size))
    for room, precision in (
        (12.1 * size**2, "float64"),
        (11.9 * size**2, "float32"),
        (6.1 * size**2, "float32"),
        (5.9 * size**2, "float64, 100 neighbours"),
    ):
        monkeypatch.setattr(
            ease_module, "available_memory", lambda room=room: int(room + 2**24)
        )
        assert Ease().excess(clicks, numbers) is None
        assert Ease().fit(clicks, numbers, 0).precision == precision
        sparse = "neighbours" in precision
        assert (BASELINES["ease"].seconds(clicks) == 1e-3 * size) == sparse


def test_the_regression_on_all_items_as_neighbours_is_the_whole_one():
    clicks = clicks_of(np.random.default_rng(0).random((60, 7)) < 0.4)
    whole = Ease().fit(clicks, EaseConfig(l2=2.0), 0)(clicks)
    every = Ease().fit(clicks, EaseConfig(l2=2.0, neighbours=6), 0)(clicks)
    np.testing.assert_allclose(every, whole, atol=1e-5)


def test_an_item_is_regressed_on_its_most_similar_items_alone():
    x = (np.random.default_rng(0).random((60, 7)) < 0.4).astype(float)
    fitted = Ease().fit(clicks_of(x), EaseConfig(l2=2.0, neighbours=3), 0)
    got = fitted(clicks_of(np.eye(7)))
    norm = np.sqrt((x**2).sum(axis=0))
    similar = (x.T @ x) / np.outer(norm, norm)
    np.fill_diagonal(similar, -1)
    for item in range(7):
        near = np.argsort(-similar[item])[:3]
        of_near = x[:, near]
        ridge = np.linalg.inv(of_near.T @ of_near + 2 * np.eye(3)) @ of_near.T
        expected = np.zeros(7)
        expected[near] = ridge @ x[:, item]
        np.testing.assert_allclose(got[:, item], expected, atol=1e-6)


def clicks_of(x):
    """Return clicks of a dense matrix of 0 and 1."""
    return click_matrix(*np.nonzero(x), x.shape)


def test_the_seconds_of_ease_grow_with_the_cube_of_the_items(monkeypatch):
    monkeypatch.setattr(ease_module, "TIMED", 2)
    clock = itertools.count()
    monkeypatch.setattr(ease_module.time, "perf_counter", lambda: next(clock))
    each = np.arange(20)
    clicks = click_matrix(each, each, (20, 20))
    assert BASELINES["ease"].seconds(clicks) == 10**3
    assert BASELINES["item_knn"].seconds(clicks) == 0


def test_an_l2_that_float32_cannot_invert_is_refused_by_its_key(clicks, monkeypatch):
    def fails(matrix):
        raise np.linalg.LinAlgError("the Cholesky factor has no entry 3")

    monkeypatch.setattr(ease_module, "_invert", fails)
    with pytest.raises(InputError, match=r"baseline.ease.l2=200 is too small"):
        Ease().fit(clicks, EaseConfig(), 0)


# --- item-kNN ------------------------------------------------------------------------


def slow_similarities(x, number, shrink):
    """Return the similarities that are kept, one pair at a time."""
    out = np.zeros((x.shape[1], x.shape[1]))
    for j in range(x.shape[1]):
        found = []
        for i in range(x.shape[1]):
            both = sum(row[i] * row[j] for row in x)
            if i != j and both:
                size = np.sqrt(x[:, i].sum() * x[:, j].sum())
                found.append((-both / (size + shrink), i))
        for value, i in sorted(found)[:number]:
            out[j, i] = -value
    return out


@pytest.mark.parametrize("block", [1, 2**23])
@pytest.mark.parametrize(("number", "shrink"), [(1, 0.0), (4, 5.0), (1000, 0.0)])
def test_item_knn_equals_a_slow_loop(clicks, number, shrink, block, monkeypatch):
    monkeypatch.setattr(knn_module, "BLOCK", block)
    x = dense(clicks)
    expected = slow_similarities(x, number, shrink)
    kept = neighbours(click_matrix(*np.nonzero(x), x.shape), number, shrink)
    np.testing.assert_allclose(kept.toarray(), expected, rtol=1e-6)
    numbers = ItemKnnConfig(number, shrink)
    np.testing.assert_allclose(
        ItemKnn().fit(clicks, numbers, 0)(clicks), x @ expected, rtol=1e-5, atol=1e-7
    )


def test_equally_similar_items_are_kept_by_index():
    pairs = np.array([[0, 4], [0, 2], [0, 1], [0, 3]])
    kept = neighbours(click_matrix(*pairs.T, (1, 5)), 2, 0.0).toarray()
    assert [np.flatnonzero(row).tolist() for row in kept] == [
        [],
        [2, 3],
        [1, 3],
        [1, 2],
        [1, 2],
    ]


def test_of_many_equally_similar_items_those_of_lower_index_are_kept():
    """Sorted as in the definition, on counts of so few users that most are equal."""
    rng = np.random.default_rng(5)
    x = (rng.random((6, 90)) < 0.5).astype(float)
    matrix = click_matrix(*np.nonzero(x), x.shape)
    for number in (1, 7, 40, 89):
        kept = neighbours(matrix, number, 3.0)
        expected = slow_similarities(x, number, 3.0)
        np.testing.assert_array_equal(kept.toarray() > 0, expected > 0)
        np.testing.assert_allclose(kept.toarray(), expected, rtol=1e-6)


# --- iALS ----------------------------------------------------------------------------

SETTINGS = IalsConfig(factors=6, l2=0.05, unobserved_weight=0.1, iterations=4)


def objective(x, users, items, settings):
    """Return L over all pairs, as its docstring defines it."""
    a, scores = settings.unobserved_weight, users @ items.T
    row = x.sum(axis=1) + a * x.shape[1]
    column = x.sum(axis=0) + a * x.shape[0]
    return (
        (x * (scores - 1) ** 2).sum()
        + a * (scores**2).sum()
        + settings.l2 * (row @ (users**2).sum(axis=1))
        + settings.l2 * (column @ (items**2).sum(axis=1))
    )


def slope(x, users, items, settings):
    """Return the gradient of L in the users, by central differences."""
    out = np.zeros_like(users)
    for place in np.ndindex(*users.shape):
        shift = np.zeros_like(users)
        shift[place] = 1e-4
        above, below = (
            objective(x, users + sign * shift, items, settings) for sign in (1, -1)
        )
        out[place] = (above - below) / 2e-4
    return out


@pytest.mark.parametrize("block", [1, 2**18])
def test_each_half_step_minimises_the_objective(clicks, block, monkeypatch):
    monkeypatch.setattr(ials_module, "BLOCK", block)
    x, matrix = dense(clicks), click_matrix(*np.nonzero(dense(clicks)), clicks.shape)
    items = initial_factors(ITEMS, 6, seed=3)
    losses = []
    for _ in range(4):
        users = solve_factors(matrix, items, SETTINGS)
        assert np.abs(slope(x, users, items, SETTINGS)).max() < 1e-6
        losses.append(objective(x, users, items, SETTINGS))
        items = solve_factors(matrix.T.tocsr(), users, SETTINGS)
        losses.append(objective(x, users, items, SETTINGS))
    assert (np.diff(losses) < 0).all()
    assert (users[x.sum(axis=1) == 0] == 0).all()


def slow_ials(x, settings, seed):
    """Alternate by dense normal equations of one row at a time, over all columns."""

    def solved(x, others):
        a, out = settings.unobserved_weight, []
        for row in x:
            ridge = settings.l2 * (row.sum() + a * len(row)) * np.eye(others.shape[1])
            left = others.T @ np.diag(row + a) @ others + ridge
            out.append(np.linalg.solve(left, others.T @ row))
        return np.array(out)

    items = initial_factors(x.shape[1], settings.factors, seed)
    for _ in range(settings.iterations):
        users = solved(x, items)
        items = solved(x.T, users)
    return solved(x, items) @ items.T


def test_ials_equals_dense_normal_equations(clicks):
    """Scores of the training users, folded in by their own clicks."""
    scores = Ials().fit(clicks, SETTINGS, 3)(clicks)
    expected = slow_ials(dense(clicks), SETTINGS, 3)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert scores.dtype == np.float32


def test_ials_depends_on_the_seed_alone(clicks):
    numbers = SETTINGS
    first, again, other = (Ials().fit(clicks, numbers, s)(clicks) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-6


# --- limits --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["item_knn", "ease", "ials"])
def test_limits_are_exact(some_clicks, kind):
    x = dense(some_clicks)
    rows, columns = (np.count_nonzero(x.sum(axis=axis)) for axis in (1, 0))
    size, key = {
        "item_knn": (int((x.sum(axis=1) ** 2).sum()), "max_pairs"),
        "ease": (min(rows, columns), "max_size"),
        "ials": (rows + columns, "max_rows"),
    }[kind]
    for limit, refused in ((size, False), (size - 1, True)):
        numbers = replace(getattr(Config().baseline, kind), **{key: limit})
        reason = BASELINES[kind]().excess(some_clicks, numbers)
        assert (reason is not None) == refused
        if reason:
            assert f"baseline.{kind}.{key}={limit}" in reason and f"{size:,}" in reason


def test_a_user_of_many_items_does_not_overflow():
    items = np.arange(70_000)
    many = click_matrix(np.zeros_like(items), items, (1, len(items)))
    reason = ItemKnn().excess(many, ItemKnnConfig())
    assert reason is not None and "4,900,000,000 pairs" in reason
