"""Lists of a catalogue on several devices are those of one device."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.quick import quick

from twotower_jax.errors import InputError
from twotower_jax.evaluation.ragged import from_pairs
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.evaluation.spread import (
    Block,
    SpreadItems,
    spread_items,
    top_k_spread,
)

ITEMS, QUERIES, DIM = 211, 23, 4


def split(items, parts, copies):
    """Return the catalogue in blocks, of which the last may be short or empty."""
    own = -(-len(items) // parts)
    blocks = [
        Block(copy, i * own, jnp.asarray(items[i * own : (i + 1) * own]))
        for copy in range(copies)
        for i in range(parts)
    ]
    return SpreadItems(tuple(blocks), jnp.asarray(items), len(items), copies)


@pytest.mark.parametrize("seed", quick(range(3), [0]))
@pytest.mark.parametrize("parts, copies", [(1, 3), (4, 1), (8, 2), (100, 1)])
@pytest.mark.parametrize("k", [1, 20, ITEMS])
def test_lists_ties_and_masks_are_those_of_one_device(seed, parts, copies, k):
    """Vectors of small whole numbers have exact scores, and many ties."""
    rng = np.random.default_rng(seed)
    items = rng.integers(-1, 2, (ITEMS, DIM)).astype(np.float32)
    queries = rng.integers(-1, 2, (QUERIES, DIM)).astype(np.float32)
    row, item = rng.integers(0, QUERIES, 900), rng.integers(0, ITEMS, 900)
    for seen in (None, from_pairs(row, item, QUERIES)):
        wanted = top_k(queries, items, k, seen=seen)
        found = top_k_spread(queries, split(items, parts, copies), k, seen)
        np.testing.assert_array_equal(found[1], wanted[1])
        np.testing.assert_array_equal(found[0], wanted[0])


def test_a_user_who_has_seen_the_items_of_a_block_gets_those_of_others():
    items = np.arange(8, dtype=np.float32)[:, None]
    seen = from_pairs(np.zeros(4, int), np.arange(4, 8), 1)
    _, found = top_k_spread(np.ones((1, 1)), split(items, 2, 1), 6, seen)
    assert found.tolist() == [[3, 2, 1, 0, -1, -1]]


def test_one_device_keeps_its_array_and_a_list_is_not_longer_than_the_catalogue():
    items = jnp.ones((4, 2))
    assert spread_items(items, 3).shape == (3, 2)
    with pytest.raises(InputError, match=r"evaluation\.k=5 must be between 1 and"):
        top_k_spread(np.ones((1, 2)), split(items, 2, 1), 5)


def test_the_whole_catalogue_is_read_in_order():
    items = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    spread = split(items, 4, 2)
    assert len(spread) == 10
    np.testing.assert_array_equal(np.asarray(spread), items)
