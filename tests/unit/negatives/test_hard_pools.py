"""Pools of hard negatives: small logs by hand, windows, sizes and errors."""

import numpy as np
import pytest
from helpers.funnels import (
    COLUMNS,
    PRE,
    RANKED,
    approx,
    by_hand,
    make_log,
    pool_dicts,
    pools_of,
)

from twotower_jax.errors import InputError

# ------------------------------------------------------------------------- by hand

FUNNEL = [
    # user, item, stage, request
    (0, 1, "pre_ranked", 7),
    (0, 2, "ranked", 7),
    (0, 3, "ranked", 7),
    (0, 4, "clicked", 7),
    (0, 5, "exposed", 7),
    (1, 2, "ranked", 8),
    (1, 0, "clicked", 8),
    (0, 2, "pre_ranked", 9),
    (0, 6, "retrieved", 9),
    (0, 1, "clicked", 9),
    (1, 3, "retrieved", 10),
    (1, 4, "clicked", 10),
]


def test_pools_of_requests_by_hand():
    log = make_log(FUNNEL)
    pools, report = pools_of(log, by_hand(log), stages=(PRE, RANKED), weights=(1, 2))
    # Request 7: 1 once pre_ranked (1), 2 and 3 ranked (2 each); ascending by weight.
    assert pools.item.tolist() == [[1, 2, 3], [2, 7, 7], [2, 7, 7]]
    inf = float("inf")
    np.testing.assert_allclose(
        pools.log_prob,
        [np.log([0.2, 0.4, 0.4]), [0, -inf, -inf], [0, -inf, -inf]],
        rtol=1e-6,
    )
    # Pools are of requests (7 of user 0), (9 of user 0), (8 of user 1).
    assert pools.of_row.tolist() == [0, 2, 1, -1]
    assert (pools.item.dtype, pools.log_prob.dtype) == (np.int32, np.float32)
    assert pools.of_row.dtype == np.int32
    assert report == {
        "rows of the stages": 5,
        "rows later than training": 0,
        "rows of requests with a held-out positive": 0,
        "rows of no training positive": 0,
        "rows of an item that its pool has already": 0,
        "items cut by pool_size": 0,
        "items in pools": 5,
        "pools": 3,
        "training positives without a pool": 1,
    }


def test_pools_of_users_merge_the_repeated_item():
    log = make_log(FUNNEL)
    pools, report = pools_of(
        log, by_hand(log), stages=(PRE, RANKED), weights=(1, 2), pool="user"
    )
    # User 0: item 1 once pre_ranked; 2 ranked and pre_ranked, 2 + 1; 3 ranked.
    first = approx({1: 1 / 6, 3: 2 / 6, 2: 3 / 6})
    assert pool_dicts(pools, log) == [first, {2: 1}, first, {2: 1}]
    assert pools.of_row.tolist() == [0, 1, 0, 1]
    assert pools.item[0].tolist() == [1, 3, 2]
    assert report["rows of an item that its pool has already"] == 1
    assert report["items in pools"] == 4 and report["pools"] == 2


def test_no_weights_are_equal_weights_of_entries():
    log = make_log(FUNNEL)
    pools, _ = pools_of(log, by_hand(log), stages=(PRE, RANKED))
    # One pre_ranked and two ranked: the stages have 1/3 and 2/3.
    assert pool_dicts(pools, log)[0] == approx({1: 1 / 3, 2: 1 / 3, 3: 1 / 3})


def test_one_stage_alone_and_exposed_is_allowed_here():
    log = make_log(FUNNEL)
    pools, report = pools_of(log, by_hand(log), stages=(("exposed", 0, None),))
    assert pool_dicts(pools, log) == [{5: 1}, None, None, None]
    assert report["training positives without a pool"] == 3


def test_two_users_with_the_same_request_number_have_two_requests():
    log = make_log(
        [
            (0, 1, "ranked", 5),
            (0, 0, "clicked", 5),
            (1, 2, "ranked", 5),
            (1, 3, "clicked", 5),
        ]
    )
    pools, _ = pools_of(log, by_hand(log), stages=(RANKED,))
    assert pool_dicts(pools, log) == [{1: 1}, {2: 1}]


def test_numbers_of_requests_can_be_anything():
    low, high = -(2**63), 2**63 - 1
    log = make_log(
        [
            (0, 1, "ranked", low),
            (0, 0, "clicked", low),
            (0, 2, "ranked", high),
            (1, 3, "clicked", high),
            (0, 3, "clicked", high),
        ]
    )
    pools, _ = pools_of(log, by_hand(log), stages=(RANKED,))
    assert pool_dicts(pools, log) == [{1: 1}, None, {2: 1}]


def test_the_item_of_the_positive_can_be_in_its_own_pool():
    log = make_log(
        [
            (0, 1, "ranked", 0),
            (0, 2, "clicked", 0),
            (0, 1, "clicked", 1),
            (0, 3, "ranked", 1),
        ]
    )
    pools, _ = pools_of(log, by_hand(log), stages=(RANKED,), pool="user")
    assert pool_dicts(pools, log) == [approx({1: 0.5, 3: 0.5})] * 2


def test_small_weights_stay_exact():
    log = make_log([(0, 1, "pre_ranked", 0), (0, 2, "ranked", 0), (0, 3, "clicked", 0)])
    pools, _ = pools_of(log, by_hand(log), stages=(PRE, RANKED), weights=(1e-30, 1e12))
    assert pools.item.tolist() == [[1, 2]]
    np.testing.assert_allclose(pools.log_prob, [[np.log(1e-42), 0]], rtol=1e-6)


# -------------------------------------------------------------------------- windows

RANKS = [
    # user, item, stage, request, rank
    (0, 0, "clicked", 0, -1),
    (0, 1, "ranked", 0, 0),
    (0, 2, "ranked", 0, 1),
    (0, 3, "ranked", 0, 2),
    (0, 4, "ranked", 0, -1),
    (0, 5, "pre_ranked", 0, 1),
    (0, 6, "pre_ranked", 0, -1),
]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ((("ranked", 1, 3),), {2: 1, 3: 1}),
        ((("ranked", 0, 1),), {1: 1}),
        ((("ranked", 0, 99),), {1: 1, 2: 1, 3: 1}),
        ((RANKED,), {1: 1, 2: 1, 3: 1, 4: 1}),
        ((("ranked", 2, None),), {3: 1}),
        ((("ranked", 0, 1), ("pre_ranked", 1, 2)), {1: 1, 5: 1}),
        ((("ranked", 0, 1), PRE), {1: 1, 5: 1, 6: 1}),
        # A row that two windows select has the weights of both.
        ((("ranked", 0, 2), ("ranked", 1, 3)), {1: 1, 2: 2, 3: 1}),
    ],
)
def test_windows_of_ranks(stages, expected):
    log = make_log(RANKS, (*COLUMNS[:4], "rank"))
    pools, report = pools_of(log, by_hand(log), stages=stages)
    total = sum(expected.values())
    (got,) = pool_dicts(pools, log)
    assert got == approx({item: w / total for item, w in expected.items()})
    assert report["rows of the stages"] == len(expected)


def test_a_window_without_ranks_is_refused():
    log = make_log(FUNNEL)
    message = (
        r"negatives.hard.stages=\['pre_ranked', 'ranked:10-50'\] takes a window of "
        "ranks, and the log has no ranks; set data.columns.rank, or leave the window "
        "out: ranked"
    )
    with pytest.raises(InputError, match=message):
        pools_of(log, by_hand(log), stages=(PRE, ("ranked", 10, 50)))


# ------------------------------------------------------------------------ pool size


def crowd(users=40, width=50):
    """Return a log in which each of some users has width ranked items and a click."""
    rows = [(u, i, "ranked", u) for u in range(users) for i in range(1, width + 1)]
    return make_log(rows + [(u, 0, "clicked", u) for u in range(users)])


def test_a_crowded_pool_keeps_a_random_subset():
    log = crowd()
    whole, _ = pools_of(log, by_hand(log), stages=(RANKED,), pool_size=50)
    assert whole.item.shape == (40, 50)
    pools, report = pools_of(log, by_hand(log), stages=(RANKED,), pool_size=8)
    assert pools.item.shape == (40, 8)
    assert all(len(set(row)) == 8 for row in pools.item.tolist())
    np.testing.assert_allclose(np.exp(pools.log_prob), 1 / 8, rtol=1e-6)
    assert report["items cut by pool_size"] == 40 * 42
    assert report["items in pools"] == 40 * 8
    again, _ = pools_of(log, by_hand(log), stages=(RANKED,), pool_size=8)
    other, _ = pools_of(log, by_hand(log), stages=(RANKED,), pool_size=8, seed=1)
    np.testing.assert_array_equal(pools.item, again.item)
    assert (pools.item != other.item).any()
    # The subsets of the users differ, and no item is preferred.
    assert len({tuple(row) for row in pools.item.tolist()}) == 40


def test_every_item_is_kept_equally_often():
    log = crowd(users=2_000, width=10)
    pools, _ = pools_of(log, by_hand(log), stages=(RANKED,), pool_size=3)
    kept = np.bincount(pools.item.ravel(), minlength=11)[1:]
    # Hypergeometric: 2,000 times .3, deviation sqrt(2000 * .3 * .7) = 20.5.
    assert kept.sum() == 6_000 and abs(kept - 600).max() < 4 * 20.5


def test_weights_within_the_subset_stay():
    rows = [(0, i, "ranked" if i % 2 else "pre_ranked", 0) for i in range(1, 21)]
    log = make_log([*rows, (0, 0, "clicked", 0)])
    pools, _ = pools_of(
        log, by_hand(log), stages=(PRE, RANKED), weights=(1, 3), pool_size=9
    )
    (got,) = pool_dicts(pools, log)
    total = sum(3 if item % 2 else 1 for item in got)
    assert got == approx({item: (3 if item % 2 else 1) / total for item in got})
    assert len(got) == 9 and 0 < sum(item % 2 for item in got) < 9


def test_a_pool_as_large_as_pool_size_is_whole():
    log = make_log(FUNNEL)
    whole, _ = pools_of(log, by_hand(log), stages=(PRE, RANKED), pool_size=3)
    pools, report = pools_of(log, by_hand(log), stages=(PRE, RANKED), pool_size=2)
    assert whole.item.shape == (3, 3) and pools.item.shape == (3, 2)
    assert report["items cut by pool_size"] == 1
    one, _ = pools_of(log, by_hand(log), stages=(PRE, RANKED), pool_size=1)
    assert one.item.shape == (3, 1) and (one.log_prob == 0).all()


# --------------------------------------------------------------------------- errors


def test_pools_of_requests_need_requests():
    log = make_log([row[:3] for row in FUNNEL], COLUMNS[:3])
    message = (
        "negatives.hard.pool=request needs the request of each row, and the log has "
        "none; set data.columns.request, or negatives.hard.pool=user"
    )
    with pytest.raises(InputError, match=message):
        pools_of(log, by_hand(log), stages=(RANKED,))
    pools, _ = pools_of(log, by_hand(log), stages=(RANKED,), pool="user")
    assert len(pools.item) == 2


def test_stages_that_the_log_does_not_have_are_named_with_what_it_has():
    log = make_log(FUNNEL)
    message = (
        r"negatives.hard.stages=\['re_ranked'\] selects no row of the log, whose rows "
        r"by furthest stage are: retrieved \(2\), pre_ranked \(2\), ranked \(3\), "
        r"exposed \(1\), clicked \(4\); choose stages .* negatives/hard=mined"
    )
    with pytest.raises(InputError, match=message):
        pools_of(log, by_hand(log), stages=(("re_ranked", 0, None),))


def test_a_window_beyond_all_ranks_is_named():
    log = make_log(RANKS, (*COLUMNS[:4], "rank"))
    with pytest.raises(InputError, match=r"\['ranked:10-50'\] selects no row"):
        pools_of(log, by_hand(log), stages=(("ranked", 10, 50),))


def test_pools_that_no_training_positive_has_are_refused_with_the_reasons():
    rows = [
        (0, 1, "ranked", 1),
        (0, 2, "clicked", 2),
        (1, 3, "clicked", 3),
        (1, 4, "clicked", 4),
        (1, 5, "ranked", 4),
    ]
    log = make_log(rows)
    message = (
        r"negatives.hard.pool=request with negatives.hard.stages=\['ranked'\] gives no "
        "training positive a hard negative .rows of the stages: 2, rows later than "
        "training: 0, rows of requests with a held-out positive: 1, rows of no "
        "training positive: 1.; choose other negatives.hard.stages, or "
        "negatives.hard.pool=user"
    )
    with pytest.raises(InputError, match=message):
        pools_of(log, by_hand(log, [3]), stages=(RANKED,))
    pools, _ = pools_of(log, by_hand(log, [3]), stages=(RANKED,), pool="user")
    assert pool_dicts(pools, log) == [{1: 1}, None]
