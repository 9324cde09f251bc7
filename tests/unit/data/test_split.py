"""Splits, by hand on a few rows, and their laws on random logs."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twotower_jax.data.build import build_log
from twotower_jax.data.config import SPLITS, DataConfig
from twotower_jax.data.health import best_split, split_health
from twotower_jax.data.log import FunnelLog, Stage
from twotower_jax.data.split import METHODS, split
from twotower_jax.errors import InputError


def log_of(user, item, time=None, **more):
    columns = {"user": list(user), "item": list(item), **more}
    if time is not None:
        columns["time"] = list(time)
    return build_log(pl.DataFrame(columns), where="here")


def test_every_method_of_the_configuration_is_there():
    assert set(SPLITS) == set(METHODS)


def run(log, method, **keys):
    return split(log, DataConfig(split=method, **keys))


def ids(log, pairs):
    """Return pairs as [(user id, item id)]."""
    users, items = log.user_ids.to_list(), log.item_ids.to_list()
    return [(users[u], items[i]) for u, i in zip(pairs.user, pairs.item, strict=True)]


# ------------------------------------------------------------------------- temporal


def test_temporal_takes_the_last_shares_of_all_positives():
    # Times are reversed against the rows: the first rows are the latest.
    log = log_of("aabbaabbab", range(10), range(10, 0, -1))
    out = run(log, "temporal", valid_share=0.2, test_share=0.3)
    assert out.test.time.tolist() == [10, 9, 8]
    assert out.valid.time.tolist() == [7, 6]
    assert out.train.time.tolist() == [5, 4, 3, 2, 1]
    assert ids(log, out.test) == [("a", 0), ("a", 1), ("b", 2)]


def test_temporal_never_parts_one_moment_and_takes_the_nearer_boundary():
    # Aimed at 2 of 10 for test: the cut falls into the three rows of time 7. They
    # go to test (3 rows; the other boundary would give 0).
    times = [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    out = run(log_of("ab" * 5, range(10), times), "temporal", test_share=0.2)
    assert out.test.time.tolist() == [7, 7, 7]
    # Aimed at 3: five rows of time 5 would give 6 rows of test, the later boundary 1.
    times = [0, 1, 2, 3, 5, 5, 5, 5, 5, 6]
    out = run(log_of("ab" * 5, range(10), times), "temporal", test_share=0.3)
    assert out.test.time.tolist() == [6]


def test_temporal_only_counts_positives():
    log = log_of(
        "abab", [1, 2, 3, 4], [1, 2, 3, 4], stage=["clicked"] * 3 + ["exposed"]
    )
    out = run(log, "temporal", valid_share=0, test_share=0.34)
    assert (len(out.train), len(out.valid), len(out.test)) == (2, 0, 1)


@given(
    times=st.lists(st.integers(0, 12), min_size=4, max_size=60),
    shares=st.tuples(st.floats(0, 0.45), st.floats(0.05, 0.45)),
)
@example(times=[0, 1, 1, 1, 1, 1], shares=(0.4375, 0.25))
def test_temporal_is_strictly_ordered_and_loses_nothing(times, shares):
    n = len(times)
    log = log_of(np.arange(n) % 3, range(n), times)
    try:
        out = run(log, "temporal", valid_share=shares[0], test_share=shares[1])
    except InputError:
        # Only where there is nothing to cut, or too little for one test row.
        assert len(set(times)) == 1 or shares[1] * n < 0.5
        return
    parts = [part.time for part in (out.train, out.valid, out.test) if len(part)]
    assert sum(len(part) for part in parts) == n
    for early, late in itertools.pairwise(parts):
        assert early.max() < late.min()


# ------------------------------------------------------------------- leave last out


def test_leave_last_out_is_by_time_then_by_row():
    # a: items 1, 2, 3, 4 at 4, 1, 3, 3 -> last is 1, before it 4 (later row of time 3)
    log = log_of("aaaabb", [1, 2, 3, 4, 1, 2], [4, 1, 3, 3, 9, 8])
    out = run(log, "leave_last_out")
    assert ids(log, out.test) == [("a", 1)]
    assert ids(log, out.valid) == [("a", 4)]
    assert ids(log, out.train) == [("a", 2), ("a", 3), ("b", 1), ("b", 2)]
    assert out.report["users with fewer than 3 positives, kept in train"] == 1


def test_leave_last_out_without_times_is_by_row():
    log = log_of("ababab", [1, 2, 3, 4, 5, 6])
    out = run(log, "leave_last_out")
    assert ids(log, out.test) == [("a", 5), ("b", 6)]
    assert ids(log, out.valid) == [("a", 3), ("b", 4)]
    assert out.train.time is None


# ---------------------------------------------------------------------------- ratio


def test_ratio_rounds_halves_up_and_takes_the_last_in_time():
    # a has 5: test floor(.3*5+.5)=2, valid floor(.5*3+.5)=2, train 1.
    # b has 1: nothing can go; c has 2: test 1, then 0 more.
    log = log_of("aaaaabcc", [1, 2, 3, 4, 5, 1, 1, 2], [5, 4, 3, 2, 1, 0, 1, 2])
    out = run(log, "ratio", valid_share=0.5, test_share=0.3)
    assert ids(log, out.test) == [("a", 1), ("a", 2), ("c", 2)]
    assert ids(log, out.valid) == [("a", 3), ("a", 4)]
    assert ids(log, out.train) == [("a", 5), ("b", 1), ("c", 1)]
    assert out.report["users too short for a test positive"] == 1


def test_ratio_without_times_is_random_with_a_fixed_seed():
    user = np.repeat(np.arange(200), 10)
    item = np.tile(np.arange(10), 200)
    first = run(log_of(user, item), "ratio", valid_share=0, test_share=0.2)
    again = run(log_of(user, item), "ratio", valid_share=0, test_share=0.2)
    np.testing.assert_array_equal(first.test.item, again.test.item)
    assert np.bincount(first.test.user).tolist() == [2] * 200
    # Not the last rows: every place of a user is drawn about 400 / 10 times.
    places = np.bincount(first.test.item, minlength=10)
    assert places.min() > 15 and places.max() < 70


@given(
    user=st.lists(st.integers(0, 5), min_size=6, max_size=60),
    shares=st.tuples(st.floats(0, 0.4), st.floats(0.1, 0.5)),
)
def test_ratio_keeps_one_positive_of_each_user_in_train(user, shares):
    log = log_of(user, range(len(user)), range(len(user)))
    try:
        out = run(log, "ratio", valid_share=shares[0], test_share=shares[1])
    except InputError:
        return
    assert set(out.train.user) == set(log.user)
    counts = np.bincount(log.user)
    expected = np.minimum(np.floor(shares[1] * counts + 0.5), counts - 1)
    got = np.bincount(out.test.user, minlength=len(counts))
    np.testing.assert_array_equal(got, expected)


# ---------------------------------------------------------------------------- given


def test_given_takes_the_parts():
    log = log_of("abab", [1, 2, 3, 4], part=[0, 2, 1, 0])
    out = run(log, "given")
    assert ids(log, out.train) == [("a", 1), ("b", 4)]
    assert ids(log, out.valid) == [("a", 3)]
    assert ids(log, out.test) == [("b", 2)]


def test_parts_without_a_valid_part_give_a_share_of_train():
    # Ten positives of each of two users in train, and no times: one tenth of each.
    log = log_of("ab" * 12, range(24), part=[0] * 20 + [2] * 4)
    out = run(log, "given")
    assert sorted(user for user, _ in ids(log, out.valid)) == ["a", "b"]
    assert ids(log, out.test) == [("a", 20), ("b", 21), ("a", 22), ("b", 23)]
    assert len(out.train) == 18
    assert out.report["valid positives taken from train"] == 2
    assert len(run(log, "given", valid_share=0).train) == 20
    every = run(log, "given", fit_valid=True)
    assert ids(log, every.train) == [*zip("ab" * 10, range(20), strict=True)]


@pytest.mark.parametrize(
    ("moment_of_test", "valid"),
    # Later than train: the last fifth of all. Among train: the last fifth of each user.
    [(100, [("b", 8), ("b", 9)]), (4, [("a", 4), ("b", 9)])],
)
def test_a_valid_part_resembles_the_test(moment_of_test, valid):
    times = [*range(10), moment_of_test]
    log = log_of("a" * 5 + "b" * 6, range(11), times, part=[0] * 10 + [2])
    assert ids(log, run(log, "given", valid_share=0.2).valid) == valid


# --------------------------------------------------- repeats, unseen, fit_valid


def test_repeats_stay_in_train_and_are_merged_elsewhere():
    log = log_of(
        "aaabbbaab",
        [1, 1, 2, 1, 3, 3, 4, 4, 1],
        [0, 0, 0, 1, 1, 1, 2, 2, 2],
        part=[0, 0, 0, 1, 1, 1, 2, 2, 2],
    )
    out = run(log, "given")
    assert ids(log, out.train) == [("a", 1), ("a", 1), ("a", 2)]
    assert ids(log, out.valid) == [("b", 1), ("b", 3)]
    assert ids(log, out.test) == [("a", 4), ("b", 1)]
    assert out.report == {
        "duplicate valid positives": 1,
        "users of valid unseen in train": 1,  # b
        "items of valid unseen in train": 1,  # 3
        "valid positives also in train": 0,
        "duplicate test positives": 1,
        "users of test unseen in train": 1,  # b
        "items of test unseen in train": 1,  # 4
        "test positives also in train": 0,
    }


def test_test_positives_that_training_has_are_counted_and_kept():
    log = log_of("aba", [1, 2, 1], part=[0, 0, 2])
    out = run(log, "given", valid_share=0)
    assert len(out.test) == 1 and out.report["test positives also in train"] == 1


def test_fit_valid_moves_every_valid_row_into_train():
    log = log_of("abaab", [1, 2, 3, 3, 4], part=[0, 2, 1, 1, 0])
    out = run(log, "given", fit_valid=True)
    assert ids(log, out.train) == [("a", 1), ("a", 3), ("a", 3), ("b", 4)]
    assert len(out.valid) == 0
    assert ids(log, out.test) == [("b", 2)]
    assert out.report["valid positives moved into train"] == 2


# --------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("log", "keys", "message"),
    [
        (
            log_of("ab", [1, 2]),
            {"split": "temporal"},
            "data.split=temporal needs times.*set data.columns.time",
        ),
        (
            log_of("ab", [1, 2]),
            {"split": "given", "source": "table"},
            "data.split=given needs data that comes in parts.*source=table.*test_path",
        ),
        (
            log_of("aaaa", [1, 2, 3, 4], [1, 2, 3, 4]),
            {"split": "ratio"},
            "all of one user, and learning needs at least 2 users; check data.col",
        ),
        (
            log_of("abcd", [1, 1, 1, 1], [1, 2, 3, 4]),
            {"split": "ratio"},
            "all of one item, and learning needs at least 2 items",
        ),
        (
            log_of("ab", [1, 2], [1, 2], stage=["exposed", "ranked"]),
            {"split": "temporal"},
            "the log has no positive.*data.min_rating",
        ),
        (
            log_of("abab", [1, 2, 3, 4], [1, 2, 3, 4]),
            {"split": "temporal", "test_share": 0.01},
            r"data.split=temporal leaves no positive to test on; raise data.test_sh",
        ),
        (
            log_of("abab", [1, 2, 3, 4], [7, 7, 7, 7]),
            {"split": "temporal"},
            "data.split=temporal leaves no positive to test on",
        ),
        (
            log_of("abab", [1, 2, 3, 4], [1, 2, 3, 4]),
            {"split": "ratio", "test_share": 0.1},
            "data.split=ratio leaves no positive to test on; raise data.test_share=0.1",
        ),
        (
            log_of("abab", [1, 2, 3, 4], [1, 2, 3, 4]),
            {"split": "leave_last_out"},
            "data.split=leave_last_out leaves no positive to test on; it needs a user",
        ),
        (
            log_of("ab", [1, 2], part=[0, 1]),
            {"split": "given"},
            "data.split=given leaves no positive to test on; give a test part",
        ),
        (
            log_of("ab", [1, 2], part=[1, 2]),
            {"split": "given"},
            "data.split=given leaves no positive to train on",
        ),
    ],
)
def test_splits_that_cannot_be_are_refused(log, keys, message):
    with pytest.raises(InputError, match=message):
        split(log, DataConfig(**keys))


def test_unknown_method_is_refused_and_all_methods_are_listed():
    config = DataConfig()
    config.split = "random"
    message = "data.split='random' is unknown; choose one of: given, leave_last_out"
    with pytest.raises(InputError, match=message):
        split(log_of("ab", [1, 2]), config)


# --------------------------------------------------------------------------- repeats


@pytest.mark.parametrize("repeats", ["first", "last"])
def test_one_positive_of_each_pair_is_kept(repeats):
    # User a clicks item 1 at 1, 4 and 6; rows are not in the order of time.
    log = log_of("aaaaabb", [1, 2, 1, 3, 1, 1, 2], [4, 2, 1, 3, 6, 1, 9])
    out = run(log, "leave_last_out", repeats=repeats)
    kept = ids(log, out.train) + ids(log, out.valid) + ids(log, out.test)
    assert sorted(kept) == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)]
    # First: 1 at 1, 2 at 2, 3 at 3. Last: 2 at 2, 3 at 3, 1 at 6.
    assert ids(log, out.test) == [("a", 3 if repeats == "first" else 1)]
    assert out.report["repeated positives left out"] == 2


def test_all_repeats_train_by_default_and_all_unmasks_seen_items():
    log = log_of("aaaab", [1, 1, 1, 2, 2], [1, 2, 3, 4, 1])
    for repeats in (None, "all"):
        out = run(log, "leave_last_out", repeats=repeats)
        assert ids(log, out.train) == [("a", 1), ("a", 1), ("b", 2)]
        assert ids(log, out.valid) == [("a", 1)]
    assert DataConfig(repeats="all").mask_seen is False
    assert DataConfig().mask_seen is True and DataConfig().repeats is None


def spread_log(users, each, order):
    """A log of as many positives of each user, in the order of a permutation."""
    user = np.repeat(np.arange(users), each)
    count = len(user)
    return FunnelLog(
        user=user.astype(np.int32),
        item=(np.arange(count) % 7).astype(np.int32),
        stage=np.full(count, Stage.CLICKED, np.int8),
        time=None if order is None else np.asarray(order, np.float64),
        user_ids=pl.Series(range(users)),
        item_ids=pl.Series(range(7)),
    )


@pytest.mark.parametrize(
    ("users", "each", "order", "method", "why"),
    [
        (20, 30, "mixed", "temporal", "the log has times"),
        (100, 4, "mixed", "leave_last_out", "4 positives or fewer"),
        (20, 30, "one by one", "leave_last_out", "without training positives"),
        (20, 30, None, "ratio", "no times"),
    ],
)
def test_the_split_that_suits_a_log(users, each, order, method, why):
    orders = {"mixed": np.random.default_rng(0).permutation(users * each)}
    orders["one by one"] = np.arange(users * each)
    log = spread_log(users, each, orders.get(order or ""))
    value, reason = best_split(log, split_health(log, DataConfig()))
    assert value == method and why in reason


def test_without_a_test_share_every_positive_may_be_trained_on():
    log = log_of("abab", [1, 2, 3, 4], [1, 2, 3, 4])
    for method in ("temporal", "ratio"):
        config = DataConfig(split=method, valid_share=0.0, test_share=0.0)
        parts = split(log, config)
        sizes = [len(part) for part in (parts.train, parts.valid, parts.test)]
        assert sizes == [4, 0, 0]
