"""Histories by hand: never the predicted click, never a later one."""

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower_jax.data.feed import Entities, make_queries
from twotower_jax.data.history import history_of_events, make_history
from twotower_jax.data.log import Feature, FunnelLog, Pairs
from twotower_jax.errors import InputError
from twotower_jax.model.tower import make_model
from twotower_jax.model.towers import TwoTower
from twotower_jax.model.two_tower import query_inputs

# User 0 clicks items 10..13 at times 1, 2, 2, 5; user 2 clicks item 10 twice.
EVENTS = Pairs(
    user=np.array([0, 2, 0, 0, 0, 2], np.int32),
    item=np.array([12, 10, 10, 13, 11, 10], np.int32),
    time=np.array([2.0, 7.0, 1.0, 5.0, 2.0, 9.0]),
)
NUM_ITEMS = 20


def make_log(users=3, **features):
    return FunnelLog(
        user=np.zeros(1, np.int32),
        item=np.zeros(1, np.int32),
        stage=np.full(1, 5, np.int8),
        user_ids=pl.Series("user", range(users)),
        item_ids=pl.Series("item", range(NUM_ITEMS)),
        user_features=features,
    )


def visible(events, users, times, length=20, target=None):
    """Return the items that the query tower reads, newest first, for each query."""
    history = make_history(events, np.asarray(users), times)
    model = make_model(TwoTower(query=("history",), history_length=length), make_log())
    inputs = query_inputs(
        model,
        Entities({}, {}, jnp.asarray(history.items)),
        make_queries(np.asarray(users), history),
        None if target is None else jnp.asarray(target, jnp.int32),
    )
    bag = inputs.bags["query.history"]
    return [
        [int(i) for i, weight in zip(one, weights, strict=True) if weight]
        for one, weights in zip(bag.ids, np.asarray(bag.weight), strict=True)
    ]


def test_a_query_sees_clicks_strictly_before_it():
    times = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 5.0, 99.0])
    expected = [[], [], [10], [10], [11, 12, 10], [11, 12, 10], [13, 11, 12, 10]]
    assert visible(EVENTS, [0] * 7, times) == expected


def test_every_training_click_sees_no_click_of_its_moment_or_later():
    found = visible(EVENTS, EVENTS.user, EVENTS.time, target=EVENTS.item)
    #  12 and 11 are of one moment, and the second click on 10 leaves 10 out.
    assert found == [[10], [], [], [11, 12, 10], [10], []]


def test_after_all_events_a_query_sees_everything_of_its_user():
    assert visible(EVENTS, [2, 0, 1], None) == [[10, 10], [13, 11, 12, 10], []]


def test_the_newest_items_are_kept_when_there_are_too_many():
    assert visible(EVENTS, [0], None, length=2) == [[13, 11]]
    assert visible(EVENTS, [0], np.array([5.0]), length=1) == [[11]]


def test_without_times_the_target_alone_is_left_out():
    events = Pairs(EVENTS.user, EVENTS.item, None)
    found = visible(events, [0, 0, 2], None, target=[12, 19, 10])
    assert [sorted(one) for one in found] == [[10, 11, 13], [10, 11, 12, 13], []]


def test_infinite_and_negative_times_keep_their_order():
    events = Pairs(
        np.zeros(3, np.int32), np.array([1, 2, 3], np.int32), np.array([-5.0, 0.0, 5.0])
    )
    times = np.array([-np.inf, -5.0, -1.0, np.inf])
    assert visible(events, [0] * 4, times) == [[], [], [1], [3, 2, 1]]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 5)),
        min_size=1,
        max_size=30,
    )
)
def test_histories_equal_a_plain_loop(clicks):
    user, item, time = (np.array(column) for column in zip(*clicks, strict=True))
    events = Pairs(user.astype(np.int32), item.astype(np.int32), time.astype(float))
    history = make_history(events, events.user, events.time)
    for row, (one, _, now) in enumerate(clicks):
        seen = history.items[history.begin[row] : history.end[row]].tolist()
        earlier = sorted(
            (
                (t, place, i)
                for place, (u, i, t) in enumerate(clicks)
                if u == one and t < now
            )
        )
        assert seen == [i for _, _, i in earlier]


def test_features_are_resolved_against_the_data():
    log = make_log(age=Feature("numeric", np.zeros(3, np.float32)))
    model = make_model(TwoTower(query=("id", "age", "history")), log)
    assert [(f.name, f.kind, f.size) for f in model.query.features] == [
        ("id", "id", 3),
        ("age", "numeric", 0),
        ("history", "history", NUM_ITEMS),
    ]
    with pytest.raises(InputError, match=r"'shop'.*choose from id, history, age"):
        make_model(TwoTower(query=("shop",)), log)
    with pytest.raises(InputError, match=r"towers.candidate.* from id, or declare"):
        make_model(TwoTower(candidate=("age",)), log)


def test_missing_values_and_unknown_users_read_nothing():
    log = make_log(
        town=Feature("categorical", np.array([1, -1, 0], np.int32), 2),
        tags=Feature("multi", np.array([[0, 1], [2, -1], [-1, -1]], np.int32), 3),
        age=Feature("numeric", np.array([0.5, -1.0, 2.0], np.float32)),
    )
    model = make_model(TwoTower(query=("id", "town", "tags", "age")), log)
    features = {n: jnp.asarray(f.values) for n, f in log.user_features.items()}
    queries = make_queries(np.array([2, 1, 3]), None)
    inputs = query_inputs(model, Entities(features, {}, None), queries, None)
    present = {n: np.asarray(r.present).tolist() for n, r in inputs.rows.items()}
    assert present == {
        "query.id": [True, True, False],
        "query.town": [True, False, False],
    }
    assert inputs.bags["query.tags"].weight.tolist() == [[0, 0], [1, 0], [0, 0]]
    assert inputs.numbers.tolist() == [[2.0], [-1.0], [0.0]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("number", [0, 1, 200])
def test_one_sort_gives_the_histories_of_the_events(seed, number):
    """With many equal moments, and with ids that do not start at 0."""
    rng = np.random.default_rng(seed)
    user, item = 3 + rng.integers(0, 9, number), rng.integers(0, 50, number)
    for time in (rng.integers(0, 20, number).astype(float), None):
        events = Pairs(user, item, time)
        wanted = make_history(events, user, time)
        for one, other in zip(history_of_events(events), wanted, strict=True):
            np.testing.assert_array_equal(one, other)
