"""The features of the towers that a configuration leaves to the data."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.problems import as_loaded, configure, with_times

from twotower_jax.data.log import Feature
from twotower_jax.run.loader import choose_features, query_features


def clicks(users, per_user, *, timed=False, features=()):
    """Return data in which each user has as many training positives."""
    user = np.repeat(np.arange(users), per_user)
    data = as_loaded(user, np.arange(len(user)) % 7, users, 7)
    if timed:
        data = with_times(data, np.arange(len(user)), np.empty(0))
    ones = np.zeros(max(users, 7), np.int32)
    named = {name: Feature("categorical", ones, 1) for name in features}
    log = replace(data.log, user_features=named, item_features=named)
    return data._replace(log=log)


@pytest.mark.parametrize(
    ("per_user", "timed", "expected"),
    [
        (9, True, ("history",)),
        (10, True, ("id", "history")),
        (19, False, ("history",)),
        (20, False, ("id", "history")),
        (1, False, ("history",)),
    ],
)
def test_an_id_needs_users_with_many_clicks(per_user, timed, expected):
    assert query_features(clicks(5, per_user, timed=timed), 20) == expected


def test_features_stand_beside_a_history_and_alone_where_it_is_empty():
    described = {"features": ("country", "age")}
    assert query_features(clicks(5, 3, **described), 20) == (
        "history",
        "age",
        "country",
    )
    assert query_features(clicks(5, 1, **described), 20) == ("age", "country")


def test_named_features_stay_and_empty_ones_are_chosen():
    data = clicks(5, 3, features=("country",))
    chosen = choose_features(configure(towers__query=("id",)), data).towers
    assert (chosen.query, chosen.candidate) == (("id",), ("id", "country"))
    named = configure(towers__query=("id",), towers__candidate=("country",))
    assert choose_features(named, data) == named


def test_a_transformer_reads_the_history_whatever_the_data():
    data = clicks(5, 1, features=("age",))
    config = configure(towers__history_pooling="transformer")
    assert "history" not in choose_features(configure(), data).towers.query
    assert "history" in choose_features(config, data).towers.query
