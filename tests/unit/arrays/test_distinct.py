"""Distinct ids and their places, against `numpy.unique`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.arrays.distinct import (
    PLACES_PER_ID,
    distinct_rows,
    find_distinct,
)


@pytest.mark.parametrize("size", [1, 2, 50, 10_000])
@pytest.mark.parametrize("number", [1, 2, 64, 1_001])
def test_equals_unique(number, size):
    ids = np.random.default_rng(number + size).integers(0, size + 1, number)
    room = min(number, size + 1)
    found = jax.jit(find_distinct, static_argnums=(1, 2))(ids, room, size)
    expected, place, counts = np.unique(ids, return_inverse=True, return_counts=True)
    kept = len(expected)
    np.testing.assert_array_equal(found.ids[:kept], expected)
    np.testing.assert_array_equal(found.place, place)
    np.testing.assert_array_equal(found.counts()[:kept], counts)
    assert (np.asarray(found.ids[kept:]) == size).all()
    assert (np.asarray(found.counts()[kept:]) == 0).all()
    assert found.ids.shape == (room,)


def test_ids_that_stand_for_nothing_need_no_room():
    found = find_distinct(jnp.array([5, 3, 3, 4]), 2, 5)
    assert found.ids.tolist() == [3, 4]
    assert found.place.tolist()[1:] == [0, 0, 1]


def test_the_largest_ids():
    ids = jnp.array([2**31 - 1, 0, 2**31 - 2, 2**31 - 1])
    found = find_distinct(ids, 4, 2**31 - 1)
    assert found.ids.tolist() == [0, 2**31 - 2, 2**31 - 1, 2**31 - 1]
    assert found.place.tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("size", [40, 40 * PLACES_PER_ID])
def test_distinct_rows_are_numbered_without_gaps(size):
    """By the array of places, and by a sort where the table is large for the ids."""
    ids = np.random.default_rng(5).integers(0, 12, 39).astype(np.int32) * (size // 12)
    ids[::7] = size
    rows = distinct_rows(jnp.asarray(ids), size)
    number, known = int(rows.number), ids[ids < size]
    assert sorted(np.asarray(rows.ids[:number])) == sorted(set(known.tolist()))
    assert (np.asarray(rows.ids[number:]) == size).all()
    place = np.asarray(rows.place)
    np.testing.assert_array_equal(np.asarray(rows.ids)[place[ids < size]], known)
    assert (place[ids == size] == rows.ids.shape[0]).all()
