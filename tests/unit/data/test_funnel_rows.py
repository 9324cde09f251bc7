"""Held-out positives stay invisible to pools; pools are those of a slow loop."""

import itertools
from collections import defaultdict
from dataclasses import replace

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

from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import Pairs, Stage
from twotower_jax.data.split import split


def losers(time, request, user=0, first=10):
    """Return a request of a user with one loser and one click at a time."""
    item = first + 2 * request
    return [
        (user, item, "ranked", request, time),
        (user, item + 1, "clicked", request, time),
    ]


def taken(pairs, rows):
    """Return some rows of pairs."""
    return Pairs(
        pairs.user[rows], pairs.item[rows], pairs.time[rows], pairs.request[rows]
    )


TIMED = COLUMNS[:5]


def test_a_temporal_split_hides_rows_after_its_last_training_positive():
    rows = [pair for k in range(10) for pair in losers(10.0 * k, k, user=k % 2)]
    rows += [
        (0, 1, "ranked", 50, 70.0),  # at the last training positive: visible
        (0, 2, "ranked", 51, 70.5),  # later, and before the first held-out positive
        (1, 3, "ranked", 52, 65.0),  # after its user's last training positive
        (2, 4, "ranked", 53, 5.0),  # a user without a positive
    ]
    log = make_log(rows, TIMED)
    config = DataConfig(split="temporal", valid_share=0.1, test_share=0.1)
    parts = split(log, config)
    assert parts.train.time.max() == 70.0 and parts.valid.time.min() == 80.0
    pools, report = pools_of(log, parts, stages=(RANKED,), pool="user")
    assert {1, 10, 14, 18, 22} == set(pool_dicts(pools, log)[0])
    assert {3, 12, 16, 20, 24} == set(pool_dicts(pools, log)[1])
    assert report["rows later than training"] == 3
    assert report["rows of no training positive"] == 1
    latest = {i: t for _, i, s, _, t in rows if s == "ranked"}
    kept = pools.item[pools.item < log.num_items]
    assert max(latest[item] for item in kept.tolist()) == 70.0


@pytest.mark.parametrize("method", ["leave_last_out", "ratio"])
def test_other_splits_hide_rows_after_the_last_training_positive_of_the_user(method):
    rows = [pair for k in range(5) for pair in losers(10.0 * k, k)]
    rows += [pair for k in range(5, 10) for pair in losers(10.0 * k, k, user=1)]
    rows += [(0, 1, "ranked", 50, 21.0), (0, 2, "ranked", 51, 15.0)]
    log = make_log(rows, TIMED)
    config = DataConfig(split=method, valid_share=0.25, test_share=0.2)
    parts = split(log, config)
    assert parts.train.request.tolist() == [0, 1, 2, 5, 6, 7]
    pools, report = pools_of(log, parts, stages=(RANKED,), pool="user")
    assert set(pool_dicts(pools, log)[0]) == {10, 12, 14, 2}
    # User 0's last training positive is at 20, user 1's at 70.
    assert set(pool_dicts(pools, log)[3]) == {20, 22, 24}
    assert report["rows later than training"] == 5


def test_losers_of_a_request_with_a_held_out_positive_are_hidden():
    rows = [
        (0, 1, "ranked", 0, 1.0),
        (0, 2, "clicked", 0, 1.0),
        (0, 3, "ranked", 1, 2.0),
        (0, 4, "clicked", 1, 2.0),
        (0, 5, "clicked", 1, 2.0),
    ]
    log = make_log(rows, TIMED)
    for pool, expected in (("user", [{1: 1}, {1: 1}]), ("request", [{1: 1}, None])):
        pools, report = pools_of(log, by_hand(log, [4]), stages=(RANKED,), pool=pool)
        assert pool_dicts(pools, log) == expected
        assert report["rows of requests with a held-out positive"] == 1


def test_a_repeated_test_positive_that_the_split_dropped_is_held_out_too():
    rows = [pair for k in range(4) for pair in losers(10.0 * k, k)]
    rows += [(0, 17, "clicked", 9, 35.0), (0, 1, "ranked", 9, 35.0)]
    rows += [(1, 1, "clicked", 10, 0.0), (1, 1, "clicked", 11, 1.0)]
    log = make_log([(*row[:4],) for row in rows], COLUMNS[:4])
    # The first click on 17 (request 3) is test, the second one dropped with it.
    parts = split(make_log(rows, TIMED), DataConfig(split="ratio", test_share=0.4))
    assert parts.report["duplicate test positives"] == 1
    pools, report = pools_of(log, parts, stages=(RANKED,), pool="user")
    assert 1 not in pools.item and 16 not in pools.item
    assert report["rows of requests with a held-out positive"] == 2


def test_without_requests_rows_at_the_time_of_a_held_out_positive_are_hidden():
    rows = [
        (0, 1, "ranked", 0, 1.0),
        (0, 2, "clicked", 0, 2.0),
        (0, 3, "ranked", 0, 2.0),
        (0, 4, "clicked", 0, 2.0),
        (1, 3, "ranked", 0, 2.0),
        (1, 5, "clicked", 0, 2.0),
    ]
    log = make_log(
        [(*row[:3], row[4]) for row in rows], ("user", "item", "stage", "time")
    )
    pools, _ = pools_of(log, by_hand(log, [3]), stages=(RANKED,), pool="user")
    assert pool_dicts(pools, log) == [{1: 1}, {3: 1}]


@pytest.mark.parametrize("fit_valid", [False, True])
def test_given_parts_show_the_rows_of_the_parts_that_are_trained_on(fit_valid):
    rows = []
    for part, user in itertools.product(range(3), range(2)):
        request = 2 * part + user
        first = 10 * part + 3 * user
        rows += [
            (user, first, "ranked", request, part),
            (user, first + 1, "clicked", request, part),
            (user, first + 2, "ranked", request + 100, part),
        ]
    log = make_log(rows, (*COLUMNS[:4], "part"))
    parts = split(log, DataConfig(split="given", fit_valid=fit_valid))
    pools, report = pools_of(log, parts, stages=(RANKED,), pool="user")
    known = {0, 2, 10, 12} if fit_valid else {0, 2}
    assert set(pool_dicts(pools, log)[0]) == known
    assert report["rows later than training"] == (4 if fit_valid else 8)


def test_parts_that_the_split_does_not_use_hide_nothing():
    rows = [(*row, 2 * (row[3] > 1)) for k in range(6) for row in losers(1.0 * k, k)]
    rows += [(*row, 0) for k in range(6, 9) for row in losers(1.0 * k, k, user=1)]
    log = make_log(rows, (*TIMED, "part"))
    parts = split(log, DataConfig(split="leave_last_out"))
    pools, _ = pools_of(log, parts, stages=(RANKED,))
    assert (pools.of_row >= 0).all() and len(pools.of_row) == 5


@pytest.mark.parametrize("given", [False, True])
def test_requests_of_positives_that_are_not_trained_on_are_not_held_out(given):
    """Such as the first and the old ones, which a sequence tower leaves out."""
    rows = [(*pair, 2 * (k > 3)) for k in range(6) for pair in losers(1.0 * k, k)]
    rows += [(0, 5, "clicked", 2, 2.0, 0)]  # a second click of a request
    rows += [(*pair, 0) for k in range(3) for pair in losers(1.0 * k, k, user=1)]
    log = make_log(rows, (*TIMED, "part"))
    name = "given" if given else "leave_last_out"
    whole = split(log, DataConfig(split=name))
    early = np.isin(whole.train.item, [5, 11])
    assert early.any() and not early.all()
    parts = replace(
        whole, train=taken(whole.train, ~early), before=taken(whole.train, early)
    )
    for method in ("user", "request"):
        wanted, _ = pools_of(log, whole, stages=(RANKED,), pool=method)
        found, _ = pools_of(log, parts, stages=(RANKED,), pool=method)
        known = np.flatnonzero(~early)
        assert [pool_dicts(wanted, log)[k] for k in known] == pool_dicts(found, log)
    assert all(pool_dicts(found, log))


# ---------------------------------------------------------------- against slow loops


def random_log(seed, *, timed):
    """Return a log of 12 users, 60 requests and 40 items, with everything repeated."""
    rng = np.random.default_rng(seed)
    rows = []
    for request in range(60):
        user, time = int(rng.integers(12)), float(rng.integers(100))
        for rank in range(int(rng.integers(3, 15))):
            stage = Stage(rng.choice(6, p=[0.2, 0.25, 0.25, 0.1, 0.1, 0.1]))
            known = rank if rng.random() < 0.8 else -1
            row = (user, int(rng.integers(40)), stage.name.lower(), request % 50)
            rows.append((*row, time + rng.integers(2), known))
    log = make_log(rows, COLUMNS[:6], num_items=40)
    return (
        log
        if timed
        else make_log([(*r[:4], r[5]) for r in rows], (*TIMED[:4], "rank"), 40)
    )


def slow_pools(log, parts, method, stages, weights, pool):
    """Return {item: probability} of each training positive by plain loops."""
    trained = defaultdict(int)
    for user, request in zip(parts.train.user, parts.train.request, strict=True):
        trained[user, request] += 1
    clicked = defaultdict(int)
    for user, request, stage in zip(log.user, log.request, log.stage, strict=True):
        clicked[user, request] += stage == Stage.CLICKED
    out = []
    for n in range(len(parts.train)):
        user, request = parts.train.user[n], parts.train.request[n]
        own = parts.train.user == user
        until = np.inf
        if log.time is not None:
            until = parts.train.time[own if method != "temporal" else ...].max()
        found = defaultdict(float)
        for row in range(len(log.user)):
            place = log.user[row], log.request[row]
            if place[0] != user or (pool == "request" and place[1] != request):
                continue
            if log.time is not None and log.time[row] > until:
                continue
            if clicked[place] > trained[place]:
                continue
            for (name, first, end), weight in zip(stages, weights, strict=True):
                if log.stage[row] != Stage[name.upper()]:
                    continue
                if end is None or first <= log.rank[row] < end:
                    found[int(log.item[row])] += weight
        total = sum(found.values())
        out.append({i: w / total for i, w in found.items()} if found else None)
    return out


@pytest.mark.parametrize("pool", ["request", "user"])
@pytest.mark.parametrize(
    ("method", "timed"),
    [("temporal", True), ("leave_last_out", True), ("ratio", True), ("ratio", False)],
)
def test_pools_are_those_of_a_slow_loop(method, timed, pool):
    stages, weights = (PRE, ("ranked", 2, 9), ("retrieved", 0, None)), (1.0, 2.5, 0.25)
    for seed in range(5):
        log = random_log(seed, timed=timed)
        parts = split(log, DataConfig(split=method, valid_share=0.2, test_share=0.2))
        pools, report = pools_of(
            log, parts, stages=stages, weights=weights, pool=pool, pool_size=99
        )
        expected = slow_pools(log, parts, method, stages, weights, pool)
        got = pool_dicts(pools, log)
        assert got == [approx(one) for one in expected]
        without = sum(one is None for one in expected)
        assert report["training positives without a pool"] == without < len(expected)
        assert report["pools"] == len(pools.item) == len(set(pools.of_row) - {-1})


@pytest.mark.parametrize("pool", ["request", "user"])
def test_every_row_of_the_stages_is_accounted_for(pool):
    for seed, size in itertools.product(range(3), (2, 99)):
        log = random_log(seed, timed=True)
        parts = split(log, DataConfig(split="ratio", valid_share=0.2, test_share=0.2))
        pools, report = pools_of(
            log, parts, stages=(PRE, RANKED), pool=pool, pool_size=size
        )
        chosen = np.isin(log.stage, [Stage.PRE_RANKED, Stage.RANKED]).sum()
        keys = list(report)
        assert report["rows of the stages"] == chosen
        assert chosen == sum(report[name] for name in keys[1:7])
        assert report["items in pools"] == (pools.item < log.num_items).sum()
        # Padding is at the end, entries ascend by probability, and sum to 1.
        real = pools.item < log.num_items
        assert (np.diff(real.astype(int), axis=1) <= 0).all() and real[:, 0].all()
        rising = pools.log_prob[:, 1:] >= pools.log_prob[:, :-1]
        assert rising[real[:, 1:]].all()
        total = np.exp(pools.log_prob.astype(float)).sum(axis=1)
        np.testing.assert_allclose(total, 1, rtol=1e-6)
        assert (pools.item[~real] == log.num_items).all()
        assert pools.item.shape[1] == real.sum(axis=1).max() <= size
