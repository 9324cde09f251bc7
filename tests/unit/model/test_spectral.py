"""The spectral start, against a dense decomposition and by what it does to a run."""

import numpy as np
import pytest
from helpers import tiny
from helpers.quick import quick

from twotower_jax.errors import InputError
from twotower_jax.model.spectral import spectral_vectors
from twotower_jax.model.towers.choice import click_matrix
from twotower_jax.run import run


def some_clicks(users=40, items=30, number=400):
    rng = np.random.default_rng(5)
    shape = (users + 1, items + 1)  # the last user and item have no click
    return click_matrix(
        rng.integers(users, size=number), rng.integers(items, size=number), shape
    )


def cosines(left, right):
    lengths = [np.linalg.norm(one, axis=1) for one in (left, right)]
    return (left @ right.T) / np.maximum(np.outer(*lengths), 1e-12)


def dense(clicks, dim):
    """Return U S^1/2, V S^1/2 and the scaled matrix by numpy's decomposition."""
    seen = (clicks.toarray() > 0).astype(float)
    users, items = (np.maximum(seen.sum(axis=axis), 1) for axis in (1, 0))
    scaled = seen / np.sqrt(users)[:, None] / np.sqrt(items)
    left, values, right = np.linalg.svd(scaled)
    root = np.sqrt(values[:dim])
    return left[:, :dim] * root, right[:dim].T * root, scaled


@pytest.mark.parametrize("dim", [4, 12])
def test_cosines_are_those_of_a_dense_decomposition(dim):
    clicks = some_clicks()
    vectors = spectral_vectors(clicks, dim)
    users, items, _ = dense(clicks, dim)
    expected = cosines(users, items)
    expected[-1], expected[:, -1] = 0, 0  # without clicks
    np.testing.assert_allclose(
        cosines(vectors.users, vectors.items), expected, atol=0.02
    )


def test_all_singular_values_give_the_normalised_clicks_back():
    clicks = some_clicks()
    vectors = spectral_vectors(clicks, 64)
    scaled = dense(clicks, 1)[2]
    product = vectors.users @ vectors.items.T
    factor = (product * scaled).sum() / (scaled**2).sum()
    np.testing.assert_allclose(product / factor, scaled, atol=1e-4)
    assert vectors.users.shape == (41, 64) and not vectors.users[:, 31:].any()


def test_the_history_of_a_user_has_the_direction_of_the_user():
    clicks = some_clicks()
    vectors = spectral_vectors(clicks, 8)
    summed = (clicks.toarray() > 0) @ vectors.history
    found = np.diag(cosines(summed, vectors.users))[:-1]
    np.testing.assert_allclose(found, 1, atol=1e-3)


def test_what_has_no_click_has_no_vector_and_the_mean_length_is_1():
    for rows in spectral_vectors(some_clicks(), 8):
        lengths = np.linalg.norm(rows, axis=1)
        assert lengths[-1] == 0 and lengths[:-1].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    "towers", quick(["factors", "history", "default"], ["history"])
)
def test_it_finds_more_after_one_small_step(tmp_path, towers):
    words = (f"towers={towers}", "optimizer.learning_rate=1e-6", "training.steps=1")
    words += ("training.patience=0", "training.min_steps=0", "evaluation.k=[20]")
    found = {
        init: run(tiny.make_config(tmp_path / init, *words, f"towers.init={init}"))
        for init in ("random", "spectral")
    }
    recall = {init: one["metrics"]["valid"]["recall@20"] for init, one in found.items()}
    assert recall["spectral"] > 1.5 * recall["random"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("towers.hidden=[8]", r"towers.init=spectral .* towers.hidden=\[8\]"),
        ("towers=sequence", "towers.history_pooling=transformer"),
        ("towers.query=[country]", r"towers.query=\['country'\] has none"),
        ("towers.candidate=[author]", r"towers.candidate=\['author'\] has none"),
        ("training.start_from=x", "training.start_from=x are two starts"),
    ],
)
def test_towers_without_such_tables_are_refused(tmp_path, words, message):
    with pytest.raises(InputError, match=message):
        tiny.make_config(tmp_path, "towers.init=spectral", words)
