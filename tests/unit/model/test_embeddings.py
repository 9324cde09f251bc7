"""Rows of a table: found, gathered and pooled by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.model import embeddings
from twotower_jax.model.embeddings import find_rows, gather, init_table, look_up

# Row i is (i + 1, 10 (i + 1)).
TABLE = jnp.asarray([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])


def vectors(ids, table=TABLE):
    rows = find_rows(jnp.asarray(ids, jnp.int32), table.shape[0])
    return look_up(gather(table, rows), rows)


def test_distinct_rows_ascending_and_padded_with_the_size():
    rows = find_rows(jnp.asarray([3, 1, 3, -1, 7]), 4)
    assert rows.ids.tolist() == [1, 3, 4, 4, 4]
    assert rows.place.tolist() == [1, 0, 1, 2, 2]
    assert rows.present.tolist() == [True, True, True, False, False]


def test_no_more_rows_than_the_table_has():
    rows = find_rows(jnp.asarray([[0, 1], [1, 0], [-1, 1]]), 2)
    assert rows.ids.tolist() == [0, 1, 2]
    assert rows.place.shape == rows.present.shape == (3, 2)


def test_padding_gathers_zeros():
    rows = find_rows(jnp.asarray([2, 2, -1]), 4)
    assert gather(TABLE, rows).tolist() == [[3, 30], [0, 0], [0, 0]]


def test_one_id_an_entity():
    assert vectors([2, 0, 2]).tolist() == [[3, 30], [1, 10], [3, 30]]


@pytest.mark.parametrize("missing", [-1, 4, -7, 2**31 - 1])
def test_a_missing_id_gives_zeros(missing):
    assert vectors([1, missing]).tolist() == [[2, 20], [0, 0]]


def test_the_gradient_of_a_row_sums_over_its_places_and_misses_padding():
    rows = find_rows(jnp.asarray([2, 0, 2, -1]), 4)
    weights = jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])

    def value(gathered):
        return (look_up(gathered, rows) * weights).sum()

    gradient = jax.grad(value)(gather(TABLE, rows))
    assert rows.ids.tolist() == [0, 2, 4, 4]
    assert gradient.tolist() == [[3, 4], [6, 8], [0, 0], [0, 0]]


@pytest.mark.parametrize("size", [1, 7, 8, 21])
def test_tables_are_uniform_and_rows_differ(size, key, monkeypatch):
    monkeypatch.setattr(embeddings, "INIT_ROWS", 8)
    table = np.asarray(init_table(key, size, 400, 0.5))
    assert table.shape == (size, 400) and table.dtype == np.float32
    assert np.abs(table).max() <= 0.5
    assert len(np.unique(table.round(6), axis=0)) == size
    # Moments of a uniform distribution, within five standard deviations.
    number = table.size
    assert abs(table.mean()) < 5 * 0.5 / np.sqrt(3 * number)
    assert abs((table**2).mean() - 0.25 / 3) < 5 * 0.25 * np.sqrt(4 / 45 / number)


def test_tables_of_other_keys_differ(key):
    first = init_table(key, 5, 4, 0.1)
    assert jnp.array_equal(first, init_table(key, 5, 4, 0.1))
    other = init_table(jax.random.fold_in(key, 1), 5, 4, 0.1)
    assert not jnp.isclose(first, other).any()


def test_two_tables_are_made_without_a_third(key):
    size, dim = 1_000_000, 8

    def tables(key):
        keys = jax.random.split(key)
        return [init_table(one, size, dim, 0.1) for one in keys]

    memory = jax.jit(tables).lower(key).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.8 * 4 * size * dim
