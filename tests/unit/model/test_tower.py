"""Towers: sums without hidden layers, an MLP with them, length one at the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.model.embeddings import FeatureSpec
from twotower_jax.model.tower import TowerSpec, apply_tower, init_tower, l2_normalize

DIM = 3
ID = FeatureSpec("id", "id", 10)
TAGS = FeatureSpec("tags", "multi", 4)
AGE = FeatureSpec("age", "numeric", 0)
PRICE = FeatureSpec("price", "numeric", 0)


def vectors(key, *features, number=5):
    return {
        feature.name: jax.random.normal(jax.random.fold_in(key, place), (number, DIM))
        for place, feature in enumerate(features)
    }


def test_without_hidden_layers_the_embedding_is_the_sum(key):
    tower = TowerSpec((ID, TAGS), DIM, (), False)
    params, inputs = init_tower(tower, key), vectors(key, ID, TAGS)
    assert params == {}
    found = apply_tower(tower, params, inputs, None)
    np.testing.assert_allclose(found, inputs["id"] + inputs["tags"], rtol=1e-6)


def test_a_tower_of_the_id_alone_is_matrix_factorisation(key):
    tower = TowerSpec((ID,), DIM, (), False)
    inputs = vectors(key, ID)
    assert jnp.array_equal(apply_tower(tower, {}, inputs, None), inputs["id"])


def test_a_number_scales_a_vector_of_its_own(key):
    # The order of numbers is that of the numeric features, whatever is between.
    tower = TowerSpec((AGE, ID, PRICE), DIM, (), False)
    params, inputs = init_tower(tower, key), vectors(key, ID)
    assert params["numeric"].shape == (2, DIM)
    assert not np.isclose(params["numeric"][0], params["numeric"][1]).any()
    numbers = jnp.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, -2.0], [3.0, 1.0], [1.0, 1.0]])
    found = apply_tower(tower, params, inputs, numbers)
    expected = np.asarray(inputs["id"]) + np.asarray(numbers) @ params["numeric"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_hidden_layers_are_linear_relu_linear(key):
    tower = TowerSpec((ID, AGE), DIM, (7, 4), False)
    params, inputs = init_tower(tower, key), vectors(key, ID)
    numbers = jnp.arange(5.0)[:, None]
    layers = [params["mlp"]["layers"][place] for place in range(3)]
    shapes = [layer["kernel"].shape for layer in layers]
    assert shapes == [(2 * DIM, 7), (7, 4), (4, DIM)]
    assert all((layer["bias"] == 0).all() for layer in layers)
    x = np.concatenate(
        [inputs["id"], np.asarray(numbers) * np.asarray(params["numeric"])], axis=1
    )
    for layer in layers[:-1]:
        x = np.maximum(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    x = x @ np.asarray(layers[-1]["kernel"]) + np.asarray(layers[-1]["bias"])
    found = apply_tower(tower, params, inputs, numbers)
    np.testing.assert_allclose(found, x, rtol=1e-5, atol=1e-6)
    assert (x < 0).any(), "the last layer has no ReLU"


def test_initial_weights_are_a_function_of_the_key(key):
    tower = TowerSpec((ID,), DIM, (7,), True)
    first, again = init_tower(tower, key), init_tower(tower, key)
    other = init_tower(tower, jax.random.fold_in(key, 1))
    kernels = [p["mlp"]["layers"][0]["kernel"] for p in (first, again, other)]
    assert jnp.array_equal(kernels[0], kernels[1])
    assert not jnp.isclose(kernels[0], kernels[2]).any()


@pytest.mark.parametrize("hidden", [(), (7,)])
def test_normalised_embeddings_have_length_one(hidden, key):
    tower = TowerSpec((ID, TAGS), DIM, hidden, True)
    inputs = vectors(key, ID, TAGS)
    found = apply_tower(tower, init_tower(tower, key), inputs, None)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(jnp.linalg.norm(found, axis=1), 1, rtol=1e-6)
    plain = TowerSpec((ID, TAGS), DIM, hidden, False)
    raw = np.asarray(apply_tower(plain, init_tower(tower, key), inputs, None))
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_normalising_is_finite_at_zero_and_at_extremes():
    rows = jnp.asarray([[0.0, 0.0], [1e-30, 0.0], [3e18, 4e18], [-1e-3, 0.0]])
    value, gradient = jax.value_and_grad(lambda x: l2_normalize(x).sum())(rows)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert l2_normalize(rows)[0].tolist() == [0, 0]
    np.testing.assert_allclose(l2_normalize(rows)[2], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(l2_normalize(rows)[3], [-1, 0], rtol=1e-6)


def test_the_gradient_is_at_right_angles_to_the_embedding(key):
    x = jax.random.normal(key, (4, DIM))
    weights = jax.random.normal(jax.random.fold_in(key, 1), (4, DIM))
    gradient = jax.grad(lambda x: (l2_normalize(x) * weights).sum())(x)
    assert np.abs(gradient).max() > 0.1
    np.testing.assert_allclose((gradient * x).sum(axis=1), 0, atol=1e-6)
