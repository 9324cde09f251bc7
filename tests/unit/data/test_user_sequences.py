"""Sequences of users, made some users at a time, against a plain loop."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.problems import as_loaded, configure, with_times

from twotower_jax.data import history
from twotower_jax.data.history import make_sequences
from twotower_jax.data.log import Pairs
from twotower_jax.run.positives import trained_part

USERS, CLICKS = 9, 200


def clicks(seed):
    """Return events with many equal times."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, USERS, CLICKS), rng.integers(0, 50, CLICKS)
    return Pairs(user, item, rng.integers(0, 20, CLICKS).astype(float))


@pytest.mark.parametrize("rows", [1, 40, 10**6])
@pytest.mark.parametrize("split", [0, 60])
def test_they_equal_a_plain_loop_whatever_the_users_at_a_time(rows, split, monkeypatch):
    monkeypatch.setattr(history, "ROWS", rows)
    events, length = clicks(split), 5
    cut = [slice(split), slice(split, None)]
    parts = [Pairs(*(x[one] for x in (events.user, events.item))) for one in cut]
    parts = [
        replace(part, time=events.time[one])
        for part, one in zip(parts, cut, strict=True)
    ]
    seen = make_sequences(parts if split else parts[1:], length, USERS)
    for row in range(split, CLICKS):
        own = np.flatnonzero(events.user == events.user[row])
        own = own[np.argsort(events.time[own], kind="stable")]
        first, place = max(0, len(own) - 1 - length), own.tolist().index(row)
        begin, end = seen.begin[row - split], seen.end[row - split]
        wanted = events.item[own[first:place]].tolist()
        assert seen.items[begin:end].tolist() == wanted


def test_weights_and_requests_stay_with_the_positives_after_since():
    """The positives before ``data.since`` have neither."""
    events = clicks(1)
    data = as_loaded(events.user, events.item, USERS, 50)
    data = with_times(data, events.time, np.zeros(0))
    rows = np.argsort(events.time, kind="stable")
    user, item, time = (x[rows] for x in (events.user, events.item, events.time))
    before = Pairs(user[:60], item[:60], time[:60])
    weight, request = np.linspace(1, 2, CLICKS - 60), np.arange(CLICKS - 60)
    train = Pairs(user[60:], item[60:], time[60:], request, weight)
    split = replace(data.split, train=train, before=before)
    config = configure(
        towers__query=("history",), towers__history_pooling="transformer"
    )
    part = trained_part(config, data._replace(split=split)).split.train
    assert 0 < len(part) <= len(train)
    np.testing.assert_array_equal(part.weight, weight[part.request])
    np.testing.assert_array_equal(part.item, train.item[part.request])
