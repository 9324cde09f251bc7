"""Which of a batch's columns and slots its users are known to like, against sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotower_jax.arrays import mapped
from twotower_jax.negatives import masks

USERS, ITEMS = 40, 60


def pairs(seed=0):
    """Return clicks with a user of very many, users of none, and repeated pairs."""
    rng = np.random.default_rng(seed)
    user = np.concatenate([rng.integers(1, USERS - 2, 300), np.zeros(200, int)])
    return user, rng.integers(0, ITEMS, len(user))


def known(user, item):
    return {(int(u), int(i)) for u, i in zip(user, item, strict=True)}


@pytest.mark.parametrize("chunk", [4, 64, 2**15])
def test_seen_places_are_those_of_the_sets(monkeypatch, chunk):
    monkeypatch.setattr(masks, "CHUNK", chunk)
    user, item = pairs()
    positives = masks.user_positives(user, item, USERS, ITEMS)
    distinct = np.array([0, 3, 4, 7, 20, 21, 40, 59, ITEMS, ITEMS + 1], np.int32)
    users = np.array([0, 5, 5, USERS - 1, 17, 0], np.int32)
    seen = jax.jit(masks.seen_places)(positives, users, distinct)
    pairs_known = known(user, item)
    want = [[(int(u), int(i)) in pairs_known for i in distinct] for u in users]
    np.testing.assert_array_equal(seen, want)
    assert np.sum(want) > 5
    assert not np.any(want[3])


def test_a_batch_of_users_without_positives_sees_nothing():
    user, item = pairs()
    positives = masks.user_positives(user, item, USERS, ITEMS)
    users = jnp.full(3, USERS - 1, jnp.int32)
    distinct = jnp.arange(ITEMS, dtype=jnp.int32)
    assert not masks.seen_places(positives, users, distinct).any()
    items = jnp.tile(distinct, (3, 1))
    assert not masks.contains(positives, jnp.asarray(users), items).any()


def test_users_are_sorted_some_at_a_time_to_the_same_lists(monkeypatch):
    user, item = pairs(2)
    whole = masks.user_positives(user, item, USERS, ITEMS)
    monkeypatch.setattr(mapped, "ROWS", 50)  # a user has 200 rows, others share ranges
    parts = masks.user_positives(user, item, USERS, ITEMS)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
    owner = np.repeat(np.arange(USERS), np.diff(whole.begin))
    listed = list(zip(owner.tolist(), whole.item.tolist(), strict=True))
    assert listed == sorted(known(user, item))


def test_contains_is_membership():
    user, item = pairs(1)
    positives = masks.user_positives(user, item, USERS, ITEMS)
    users = np.arange(USERS, dtype=np.int32)
    items = np.tile(np.arange(ITEMS + 1, dtype=np.int32), (USERS, 1))
    found = np.asarray(jax.jit(masks.contains)(positives, users, jnp.asarray(items)))
    rows, places = np.nonzero(found)
    assert {(int(r), int(items[r, p])) for r, p in zip(rows, places, strict=True)} == (
        known(user, item)
    )
