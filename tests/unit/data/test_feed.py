"""Order of reading: every positive once per epoch, a function of seed and step."""

import queue

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower_jax import keys
from twotower_jax.data.feed import Order, feature_arrays, make_queries
from twotower_jax.data.history import make_history
from twotower_jax.data.log import Feature, Pairs
from twotower_jax.errors import InputError

SEED = 20_261_130  # of no other test
SIZES = [(10, 10), (10, 3), (7, 5), (100, 64), (3, 2), (5, 8)]


@pytest.mark.parametrize(("number", "batch"), SIZES)
def test_every_positive_once_per_epoch_for_any_batch_size(number, batch):
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


def test_the_next_epoch_is_ordered_while_one_is_read(monkeypatch):
    asked, real = queue.Queue(), keys.generator

    def generator(seed, name, step):
        if seed == SEED:  # threads of earlier tests may still order epochs of theirs
            asked.put(step)
        return real(seed, name, step)

    monkeypatch.setattr(keys, "generator", generator)
    order = Order(SEED, 5, 2)
    order.batches(0, 1)
    assert [asked.get(timeout=60) for _ in range(2)] == [0, 1]
    order.batches(1, 1)  # the end of one epoch and nothing of the next
    assert asked.empty()


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
def test_batches_do_not_depend_on_the_order_of_calls(number, batch, chunks):
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


@pytest.mark.parametrize("draw", [None, lambda generator: np.arange(60)])
def test_without_resampling_an_epoch_is_the_shuffle_of_its_key(draw):
    """The bits of earlier runs: permutation by the generator (seed, "order", epoch)."""
    got = Order(4, 60, 30, draw).batches(0, 10).reshape(5, 60)
    for epoch in range(5):
        want = keys.generator(4, "order", epoch).permutation(60)
        np.testing.assert_array_equal(got[epoch], want)


def some_rows(number, most):
    """Return a draw of 0 to ``most`` rows an epoch, with repetitions."""

    def draw(generator):
        return generator.integers(0, number, generator.integers(0, most + 1))

    return draw


def slow_sequence(seed, draw, length):
    """Concatenate shuffled epochs until there are enough positives."""
    rows, lengths, epoch = [], [], 0
    while len(rows) < length:
        drawn = draw(keys.generator(seed, "positives", epoch))
        shuffle = keys.generator(seed, "order", epoch).permutation(len(drawn))
        rows += [drawn[place] for place in shuffle]
        lengths.append(len(drawn))
        epoch += 1
    return rows[:length], lengths


@settings(max_examples=40)
@given(
    most=st.integers(3, 60),
    batch=st.integers(2, 40),
    step=st.integers(0, 20),
    other=st.integers(0, 20),
)
def test_resampled_epochs_are_one_sequence_read_from_anywhere(most, batch, step, other):
    draw = some_rows(12, most)
    want, lengths = slow_sequence(6, draw, 23 * batch)
    order = Order(6, 12, batch, draw)
    for start in (step, other, 0):  # as after a resume, then going on or back
        found = order.batches(start, 3)
        assert found.dtype == np.int32 and found.shape == (3, batch)
        part = want[start * batch : (start + 3) * batch]
        assert found.reshape(-1).tolist() == part
    assert order.batches(0, 23).reshape(-1).tolist() == want
    few, fresh = min(len(lengths), 5), Order(6, 12, batch, draw)
    for epochs in (few, 0, 1, few):
        assert order.positives(epochs) == sum(lengths[:epochs])
        assert fresh.positives(epochs) == sum(lengths[:epochs])


@given(
    times=st.lists(st.integers(0, 5), min_size=3, max_size=30),
    batch=st.integers(2, 8),
    most=st.integers(3, 40),
    step=st.integers(0, 12),
)
def test_passes_in_the_order_of_time(times, batch, most, step):
    """Each epoch is its rows sorted by (time, row), read from anywhere."""
    number, draw = len(times), some_rows(len(times), most)
    moments = np.array(times, float)
    for one, drawn in ((None, lambda _: np.arange(number)), (draw, draw)):
        want, epoch = [], 0
        while len(want) < (step + 3) * batch:
            rows = drawn(keys.generator(6, "positives", epoch)).tolist()
            want += sorted(rows, key=lambda row: (times[row], row))
            epoch += 1
        order = Order(6, number, batch, one, moments)
        for first in (step, 0, step):  # as after a resume, then going back and on
            got = order.batches(first, 3)
            assert got.dtype == np.int32
            part = want[first * batch : (first + 3) * batch]
            assert got.reshape(-1).tolist() == part


def test_positives_of_epochs_without_resampling():
    order = Order(0, 10, 4)
    assert [order.positives(epochs) for epochs in (0, 1, 10**9)] == [0, 10, 10**10]


class Counted:
    """A draw of 5 to 9 rows that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, generator):
        self.calls += 1
        return generator.integers(0, 20, generator.integers(5, 10))


def test_reading_on_draws_an_epoch_once_and_a_resume_the_epochs_before():
    draw = Counted()
    order = Order(0, 20, 4, draw)
    for step in range(0, 100, 2):
        order.batches(step, 2)
    _, lengths = slow_sequence(0, Counted(), 400)
    assert draw.calls == len(lengths)
    resumed = Counted()
    Order(0, 20, 4, resumed).batches(98, 2)
    # The epoch of the step is drawn for its length and again for its rows.
    assert len(lengths) <= resumed.calls <= len(lengths) + 1


def test_two_epochs_of_rows_are_kept():
    order = Order(0, 20, 4, Counted())
    for step in (0, 500, 30, 31, 0):
        order.batches(step, 9)
        assert len(order._epochs) <= 2


def test_counting_epochs_changes_no_batch():
    order = Order(0, 20, 4, Counted())
    assert 5 * 40 <= order.positives(40) <= 9 * 40
    fresh = Order(0, 20, 4, Counted()).batches(0, 30)
    np.testing.assert_array_equal(order.batches(0, 30), fresh)


def test_a_late_step_of_a_large_batch_needs_no_rows_in_between():
    order = Order(0, 20, 1_000, Counted())
    assert order.batches(5, 1).shape == (1, 1_000)


def test_draw_and_shuffle_have_streams_of_their_own():
    """A draw that reads its generator does not shift the shuffle."""

    def greedy(generator):
        generator.random(1_000)
        return np.arange(50)

    got = Order(2, 50, 50, greedy).batches(0, 2)
    np.testing.assert_array_equal(got, Order(2, 50, 50).batches(0, 2))


@pytest.mark.parametrize("read", ["batches", "positives"])
def test_epochs_that_draw_nothing_end_in_an_error(read):
    order = Order(0, 1_234, 2, lambda generator: np.arange(0))
    arguments = (0, 1) if read == "batches" else (1_000,)
    for _ in range(2):
        with pytest.raises(InputError, match=r"none of the 1,234 positives; choose"):
            getattr(order, read)(*arguments)


def test_a_sequence_that_dries_up_ends_in_an_error():
    calls = iter(range(10**6))
    order = Order(0, 9, 2, lambda generator: np.arange(9 * (next(calls) < 3)))
    assert order.batches(0, 13).shape == (13, 2)
    with pytest.raises(InputError, match="100 epochs in a row"):
        order.batches(13, 1)


def test_queries_without_and_with_a_history():
    users = np.array([2, 0, 1])
    plain = make_queries(users, None)
    assert plain.user.tolist() == [2, 0, 1] and str(plain.user.dtype) == "int32"
    assert plain.begin is None and plain.end is None
    events = Pairs(np.array([0, 2, 2]), np.array([5, 6, 7]), None)
    queries = make_queries(users, make_history(events, users, None))
    assert queries.begin is not None and queries.end is not None
    assert queries.begin.tolist() == [1, 0, 1]
    assert queries.end.tolist() == [3, 1, 1]


def test_only_named_features_with_values_go_to_the_device():
    features = {
        name: Feature("numeric", np.arange(3, dtype=np.float32)) for name in "ab"
    }
    found = feature_arrays(features, ("id", "b", "history"))
    assert set(found) == {"b"} and found["b"].tolist() == [0, 1, 2]
