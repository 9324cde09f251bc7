"""The order of positives by blocks."""

import numpy as np
import pytest

from twotower_jax.data.block_order import BLOCK, WINDOW, BlockOrder

ROWS = BLOCK * WINDOW


@pytest.mark.parametrize("number", [5, BLOCK, 3 * BLOCK + 1, ROWS + 17])
def test_every_positive_is_read_once_in_each_epoch(number):
    order = BlockOrder(seed=3, number=number, batch_size=1)
    for epoch in range(2):
        rows = order.batches(epoch * number, number).ravel()
        np.testing.assert_array_equal(np.sort(rows), np.arange(number))


def test_batches_are_a_function_of_the_step():
    number, batch = 2 * ROWS + 5 * BLOCK + 3, 1000
    order = BlockOrder(0, number, batch)
    last = 2 * number // batch
    steps = [0, last // 2, 7, last, 1]  # in any order, as after a resume
    for step in steps:
        alone = BlockOrder(0, number, batch).batches(step, 1)
        np.testing.assert_array_equal(order.batches(step, 1), alone)
    many = order.batches(5, 4)
    for step in range(4):
        np.testing.assert_array_equal(many[step], order.batches(5 + step, 1)[0])


def test_epochs_and_seeds_differ():
    first = BlockOrder(0, 10_000, 100).batches(0, 200)
    assert (first[:100] != first[100:]).mean() > 0.99
    other = BlockOrder(1, 10_000, 100).batches(0, 100)
    assert (first[:100] != other).mean() > 0.99


def test_a_log_of_one_window_is_shuffled_as_a_whole():
    """Places of rows in the order are uncorrelated with the rows."""
    number = 50_000
    rows = BlockOrder(0, number, 100).batches(0, number // 100).ravel()
    place = np.empty(number)
    place[rows] = np.arange(number)
    correlation = np.corrcoef(place, np.arange(number))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(number)
    neighbours = np.corrcoef(place[:-1], place[1:])[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(number)


def test_a_batch_of_a_large_log_comes_from_a_window():
    number = 4 * ROWS
    batch = BlockOrder(0, number, 4096).batches(0, 1)[0]
    blocks = np.unique(batch // BLOCK)
    assert len(blocks) > 0.99 * WINDOW  # each block of the window has rows in it
    assert len(blocks) <= WINDOW
    # The blocks are spread over the log.
    assert (np.bincount(blocks // WINDOW, minlength=4) > WINDOW / 8).all()


def test_the_memory_does_not_grow_with_the_log():
    order = BlockOrder(0, 2**31 - 1, 512)
    rows = order.batches(2**31 // 512, 2)
    assert rows.shape == (2, 512) and rows.dtype == np.int32
    assert rows.min() >= 0
    kept = sum(window.nbytes for window in order._windows.values())
    assert kept <= 2 * 4 * ROWS
