"""filter_log, and the summary and hash of the remaining log."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.build import SideTable, build_log, filter_log
from twotower_jax.data.concentration import gini
from twotower_jax.data.config import DataConfig
from twotower_jax.data.split import split
from twotower_jax.data.summary import data_fingerprint, describe
from twotower_jax.errors import InputError

# -------------------------------------------------------------------------- filters


def funnel():
    """Clicks: user a on x, y, z; user b on x; user c on x, y. Exposed: a w, b y."""
    rows = [
        ("a", "x", "clicked"),
        ("a", "w", "exposed"),
        ("a", "y", "clicked"),
        ("b", "x", "clicked"),
        ("b", "y", "exposed"),
        ("c", "x", "clicked"),
        ("c", "y", "clicked"),
        ("a", "z", "clicked"),
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "stage"], orient="row")
    frame = frame.with_columns(time=pl.int_range(8), request=pl.int_range(8) + 100)
    users = pl.DataFrame({"user": ["a", "b", "c"], "f": ["A", "B", "C"]})
    return build_log(frame, where="here", users=SideTable(users), dropped={"before": 1})


def test_a_minimum_of_one_keeps_everything():
    log = funnel()
    out = filter_log(log, min_user_positives=1, min_item_positives=1)
    assert out.user is log.user
    assert (out.num_users, out.num_items, out.dropped) == (3, 4, {"before": 1})


def test_items_are_dropped_with_all_their_rows():
    out = filter_log(funnel(), min_user_positives=1, min_item_positives=2)
    assert out.item_ids.to_list() == ["x", "y"]
    assert out.item.tolist() == [0, 1, 0, 1, 0, 1]
    assert out.time.tolist() == [0, 2, 3, 4, 5, 6]
    assert out.dropped == {
        "before": 1,
        "items with fewer than 2 positives": 2,
        "rows of items with fewer than 2 positives": 2,
    }


def test_users_are_dropped_after_items_and_codes_and_features_follow():
    # Without w and z user a has 2 positives, b 1 and c 2.
    out = filter_log(funnel(), min_user_positives=2, min_item_positives=2)
    assert out.user_ids.to_list() == ["a", "c"]
    assert out.user.tolist() == [0, 0, 1, 1]
    assert out.item.tolist() == [0, 1, 0, 1]
    assert out.request.tolist() == [100, 102, 105, 106]
    assert out.user_features["f"].values.tolist() == [0, 2]
    assert out.dropped["users with fewer than 2 positives"] == 1
    assert out.dropped["rows of users with fewer than 2 positives"] == 2


def test_filters_run_once_and_are_no_core():
    # Only user a has 3 positives; its items stay, though each now has 1 of 1..3.
    out = filter_log(funnel(), min_user_positives=3, min_item_positives=1)
    assert out.user_ids.to_list() == ["a"]
    assert out.item_ids.to_list() == ["x", "w", "y", "z"]


def test_items_without_rows_are_dropped_but_a_catalogue_stays():
    frame = pl.DataFrame({"user": [1, 1, 2], "item": ["x", "y", "z"]})
    log = build_log(frame, where="here", catalogue=pl.Series(["never"]))
    out = filter_log(log, min_user_positives=2, min_item_positives=1)
    assert out.item_ids.to_list() == ["x", "y", "never"]
    assert out.dropped["items left without rows"] == 1


@pytest.mark.parametrize(
    ("minimums", "message"),
    [
        ((4, 1), "data.min_user_positives=4 leaves no positive .*of one user is 3"),
        ((1, 4), "data.min_item_positives=4 leaves no positive .*of one item is 3"),
    ],
)
def test_a_filter_that_leaves_nothing_is_refused(minimums, message):
    users, items = minimums
    with pytest.raises(InputError, match=message):
        filter_log(funnel(), min_user_positives=users, min_item_positives=items)


# -------------------------------------------------------------------------- summary


def test_gini_by_hand():
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    # One of four has all: 1 - 1/4.
    assert gini(np.array([0, 8, 0, 0])) == pytest.approx(0.75)
    # Mean absolute difference of (1, 3) is 1, over twice the mean 2: 1/4.
    assert gini(np.array([1, 3])) == pytest.approx(0.25)
    assert gini(np.array([0, 0])) == 0


def test_describe_by_hand():
    log = funnel()
    config = DataConfig(split="leave_last_out")
    out = describe(log, split(log, config))
    assert (out["users"], out["items"], out["rows"], out["positives"]) == (3, 4, 8, 6)
    assert out["stages"]["exposed"] == 2 and out["stages"]["clicked"] == 6
    # 1 % of 4 items is one item: x with 3 of 6 clicks; counts (0, 1, 2, 3).
    assert out["top 1% share"] == pytest.approx(0.5)
    assert out["gini"] == pytest.approx(2 * (2 + 6 + 12) / (4 * 6) - 5 / 4)
    assert out["split"] == {"train": 4, "valid": 1, "test": 1}
    assert out["dropped"] == {"before": 1}
    assert out["report"]["users with fewer than 3 positives, kept in train"] == 2


def test_fingerprint_is_the_same_everywhere_and_sees_every_part():
    log = funnel()
    config = DataConfig(split="leave_last_out")
    parts = split(log, config)
    name = data_fingerprint(log, parts)
    assert name == data_fingerprint(funnel(), split(funnel(), config))
    # Pinned: the value must not depend on machine, process or version.
    assert name == "4e1c4fdb9bb2"
    swapped = replace(parts, valid=parts.test, test=parts.valid)
    others = {
        data_fingerprint(replace(log, user_ids=pl.Series(["a", "bc", ""])), parts),
        data_fingerprint(replace(log, user_ids=pl.Series(["ab", "c", ""])), parts),
        data_fingerprint(replace(log, stage=log.stage[::-1]), parts),
        data_fingerprint(replace(log, time=None), parts),
        data_fingerprint(replace(log, rank=np.zeros(8, np.int32)), parts),
        data_fingerprint(replace(log, user_features={}), parts),
        data_fingerprint(log, swapped),
    }
    assert len(others) == 7 and name not in others
    assert data_fingerprint(replace(log, dropped={}), parts) == name
