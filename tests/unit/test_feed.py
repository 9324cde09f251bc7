"""The order of reading: every positive once an epoch, the step as cursor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower_jax.data.features import make_history
from twotower_jax.data.feed import Order, device_features, make_queries
from twotower_jax.data.log import Feature, Pairs

SIZES = [(10, 10), (10, 3), (7, 5), (100, 64), (3, 2), (5, 8)]


@pytest.mark.parametrize(("number", "batch"), SIZES)
def test_every_positive_once_an_epoch_whatever_the_batch(number, batch):
    epochs = 4
    steps = -(-epochs * number // batch)
    rows = Order(0, number, batch).batches(0, steps).reshape(-1)
    assert rows.dtype == np.int32
    for epoch in range(epochs):
        part = rows[epoch * number : (epoch + 1) * number]
        assert sorted(part.tolist()) == list(range(number))


def test_the_sequence_of_epochs_does_not_depend_on_the_batch():
    small = Order(3, 50, 5).batches(0, 20).reshape(-1)
    large = Order(3, 50, 25).batches(0, 4).reshape(-1)
    assert small.tolist() == large.tolist()


def test_epochs_and_seeds_have_orders_of_their_own():
    first = Order(0, 100, 100).batches(0, 3)
    other = Order(1, 100, 100).batches(0, 3)
    orders = {tuple(row) for row in [*first.tolist(), *other.tolist()]}
    assert len(orders) == 6
    assert tuple(range(100)) not in orders


@given(
    number=st.integers(2, 40),
    batch=st.integers(2, 40),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=8),
)
def test_batches_do_not_depend_on_how_they_are_asked_for(number, batch, chunks):
    whole = Order(5, number, batch).batches(0, sum(chunks))
    order, step, found = Order(5, number, batch), 0, []
    for chunk in chunks:
        found.append(order.batches(step, chunk))
        step += chunk
    assert np.array_equal(np.concatenate(found), whole)


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 200), st.integers(0, 200))
def test_any_step_can_be_read_first(number, batch, step, other):
    """As after a resume, or going back to an earlier step."""
    order = Order(1, number, batch)
    order.batches(other, 2)
    fresh = Order(1, number, batch).batches(step, 2)
    assert np.array_equal(order.batches(step, 2), fresh)


def test_steps_beyond_32_bits_of_positions():
    rows = Order(0, 1000, 4096).batches(2**21, 2)
    assert rows.shape == (2, 4096)
    assert rows.min() == 0 and rows.max() == 999


def test_queries_without_and_with_a_history():
    users = np.array([2, 0, 1])
    plain = make_queries(users, None)
    assert plain.user.tolist() == [2, 0, 1] and str(plain.user.dtype) == "int32"
    assert plain.begin is None and plain.end is None
    events = Pairs(np.array([0, 2, 2]), np.array([5, 6, 7]), None)
    queries = make_queries(users, make_history(events, users, None))
    assert queries.begin.tolist() == [1, 0, 1]
    assert queries.end.tolist() == [3, 1, 1]


def test_only_named_features_with_values_go_to_the_device():
    features = {
        name: Feature("numeric", np.arange(3, dtype=np.float32)) for name in "ab"
    }
    found = device_features(features, ("id", "b", "history"))
    assert set(found) == {"b"} and found["b"].tolist() == [0, 1, 2]
