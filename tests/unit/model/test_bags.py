"""Bags: weighted means of rows, against plain loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower_jax.model.embeddings import Bag, bag_vectors, mean_bag

# Row i is (i + 1, 10 (i + 1)).
TABLE = jnp.asarray([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])


def means(ids):
    return bag_vectors(TABLE, mean_bag(jnp.asarray(ids, jnp.int32), 4))


def test_the_mean_of_those_present():
    found = means([[0, 2, -1], [-1, 3, -1], [-1, -1, -1], [1, 1, 0]])
    expected = [[2, 20], [4, 40], [0, 0], [5 / 3, 50 / 3]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("missing", [-1, 4, -7, 2**31 - 1])
def test_a_missing_id_is_left_out(missing):
    assert means([[1, missing], [missing, missing]]).tolist() == [[2, 20], [0, 0]]


@settings(max_examples=8)
@given(
    st.lists(
        st.lists(st.integers(-2, 6), min_size=5, max_size=5), min_size=1, max_size=6
    )
)
def test_means_equal_a_plain_loop(ids):
    for one, vector in zip(ids, means(ids), strict=True):
        there = [np.asarray(TABLE[i]) for i in one if 0 <= i < 4]
        expected = np.mean(there, axis=0) if there else np.zeros(2)
        np.testing.assert_allclose(vector, expected, rtol=1e-6)


def test_weights_and_total_scale_the_rows():
    bag = Bag(jnp.array([[0, 3], [1, 4]]), jnp.array([[1, 0.5], [3, 0]]), jnp.ones(2))
    halved = bag._replace(total=jnp.array([2.0, 1.0]))
    assert bag_vectors(TABLE, bag).tolist() == [[3, 30], [6, 60]]
    assert bag_vectors(TABLE, halved).tolist() == [[1.5, 15], [6, 60]]
