"""build_log, filter_log, features, describe and fingerprint."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.build import build_log, filter_log
from twotower_jax.data.log import Stage
from twotower_jax.data.split import split
from twotower_jax.data.summary import describe, fingerprint, gini
from twotower_jax.errors import InputError
from twotower_jax.schema.data import DataConfig


def make(**columns):
    return build_log(pl.DataFrame(columns), where="here")


def feature(values, kind, ids=("a", "b", "c")):
    frame = pl.DataFrame({"user": list(ids), "item": [1] * len(ids)})
    table = pl.DataFrame({"user": list(ids), "f": values})
    log = build_log(frame, where="here", user_features=table, user_kinds={"f": kind})
    return log.user_features["f"]


# ---------------------------------------------------------------- ids and columns


def test_codes_follow_first_appearance_and_ids_keep_their_type():
    log = make(user=["b", "a", "b", "c"], item=[30, 10, 10, 20])
    assert log.user.tolist() == [0, 1, 0, 2]
    assert log.item.tolist() == [0, 1, 1, 2]
    assert log.user_ids.to_list() == ["b", "a", "c"]
    assert log.item_ids.to_list() == [30, 10, 20]
    assert (log.user_ids.dtype, log.item_ids.dtype) == (pl.String, pl.Int64)
    assert (log.user.dtype, log.item.dtype) == (np.int32, np.int32)
    assert (log.num_users, log.num_items) == (3, 3)


def test_rows_are_positives_without_a_stage_and_optional_columns_are_none():
    log = make(user=[1, 2], item=[1, 2])
    assert log.stage.tolist() == [Stage.CLICKED, Stage.CLICKED]
    assert log.stage.dtype == np.int8
    assert (log.time, log.request, log.rank, log.part) == (None,) * 4


def test_all_columns_are_kept():
    log = make(
        user=[1, 2],
        item=[1, 2],
        time=[5, 7],
        stage=["retrieved", "CLICKED"],
        request=["r9", "r2"],
        rank=[4, 0],
        part=[0, 2],
    )
    assert log.time.tolist() == [5.0, 7.0] and log.time.dtype == np.float64
    assert log.stage.tolist() == [0, 5]
    assert log.request.tolist() == [0, 1] and log.request.dtype == np.int64
    assert log.rank.tolist() == [4, 0] and log.rank.dtype == np.int32
    assert log.part.tolist() == [0, 2] and log.part.dtype == np.int8


def test_integer_requests_stay_as_they_are():
    assert make(user=[1, 2], item=[1, 2], request=[90, 7]).request.tolist() == [90, 7]


@pytest.mark.parametrize(
    "values", [[3, None], ["3", None], [3.0, float("nan")], [3, -1]]
)
def test_a_rank_that_is_not_known_is_minus_one(values):
    assert make(user=[1, 2], item=[1, 2], rank=values).rank.tolist() == [3, -1]


def test_categories_become_strings():
    log = build_log(
        pl.DataFrame({"user": ["x", "y"], "item": ["p", "q"]}).with_columns(
            pl.all().cast(pl.Categorical)
        ),
        where="here",
    )
    assert log.user_ids.dtype == pl.String
    assert log.item_ids.to_list() == ["p", "q"]


def test_catalogue_adds_items_without_rows_after_those_with_rows():
    frame = pl.DataFrame({"user": [1, 2], "item": ["c", "a"]})
    log = build_log(frame, where="here", catalogue=pl.Series(["a", "b", "c", "d"]))
    assert log.item_ids.to_list() == ["c", "a", "b", "d"]
    assert log.item.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([10, 20], [10.0, 20.0]),
        (["10.5", "20"], [10.5, 20.0]),
        ([date(1970, 1, 2), date(1970, 1, 3)], [86400.0, 172800.0]),
        ([datetime(1970, 1, 1, 0, 1), datetime(1970, 1, 1, 1)], [60.0, 3600.0]),
        ([datetime(1970, 1, 1, 1, tzinfo=UTC)] * 2, [3600.0, 3600.0]),
        (["1970-01-01", "1970-01-02T00:00:01"], [0.0, 86401.0]),
        (["1970-01-01 00:00:01.5", "1970-01-01T00:01"], [1.5, 60.0]),
        (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:02Z"], [0.0, 2.0]),
    ],
)
def test_times_become_epoch_seconds(values, seconds):
    assert make(user=[1, 2], item=[1, 2], time=values).time.tolist() == seconds


BAD = {
    "no user column": ({"item": [1]}, "here: has no column 'user'"),
    "no item column": ({"user": [1]}, "here: has no column 'item'"),
    "unknown column": (
        {"user": [1], "item": [1], "colour": [1]},
        r"unknown columns \['colour'\]",
    ),
    "no rows": ({"user": [], "item": []}, "here: has no rows"),
    "null user": (
        {"user": ["a", None], "item": [1, 2]},
        "here: row 2, column 'user': an empty value is not allowed; give every row",
    ),
    "null item": (
        {"user": [1, 2, 3], "item": [1, 2, None]},
        "row 3, column 'item': an empty value",
    ),
    "nan item": (
        {"user": [1, 2], "item": [1.0, float("nan")]},
        "row 2, column 'item': an empty value",
    ),
    "list ids": (
        {"user": [[1], [2]], "item": [1, 2]},
        "'user' has values of type List",
    ),
    "text time": (
        {"user": [1, 2], "item": [1, 2], "time": ["5", "soon"]},
        "row 2, column 'time': 'soon' is not a time; give seconds",
    ),
    "broken date": (
        {"user": [1, 2], "item": [1, 2], "time": ["2020-01-01", "2020-13-01"]},
        "row 2, column 'time': '2020-13-01' is not a time",
    ),
    "null time": (
        {"user": [1, 2], "item": [1, 2], "time": [1.0, None]},
        "row 2, column 'time': an empty value",
    ),
    "infinite time": (
        {"user": [1, 2], "item": [1, 2], "time": [1.0, float("inf")]},
        "row 2, column 'time': inf is infinite",
    ),
    "list time": (
        {"user": [1], "item": [1], "time": [[1]]},
        "'time' has values of type",
    ),
    "stage name": (
        {"user": [1, 2], "item": [1, 2], "stage": ["clicked", "bought"]},
        "row 2, column 'stage': 'bought' is no stage; choose one of: retrieved, pre_r",
    ),
    "stage number": (
        {"user": [1, 2], "item": [1, 2], "stage": [6, 5]},
        "row 1, column 'stage': 6 is no stage",
    ),
    "stage type": ({"user": [1], "item": [1], "stage": [0.5]}, "give names of stages"),
    "null request": (
        {"user": [1, 2], "item": [1, 2], "request": [None, 5]},
        "row 1, column 'request': an empty value",
    ),
    "rank below zero": (
        {"user": [1, 2], "item": [1, 2], "rank": [0, -2]},
        "row 2, column 'rank': -2 is no rank; give a whole number from 0",
    ),
    "rank fraction": (
        {"user": [1, 2], "item": [1, 2], "rank": [0.5, 1]},
        "row 1, column 'rank': 0.5 is no rank; give a whole number from 0",
    ),
    "infinite rank": (
        {"user": [1, 2], "item": [1, 2], "rank": [0.0, float("inf")]},
        "row 2, column 'rank': inf is infinite",
    ),
    "text rank": (
        {"user": [1, 2], "item": [1, 2], "rank": ["0", "top"]},
        "row 2, column 'rank': 'top' is not a number",
    ),
    "part": (
        {"user": [1, 2], "item": [1, 2], "part": [0, 3]},
        "row 2, column 'part': 3 is no part",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_named(name):
    columns, message = BAD[name]
    with pytest.raises(InputError, match=message):
        make(**columns)


# ------------------------------------------------------------------------ features


def test_categorical_codes_and_missing():
    out = feature(["x", None, "w"], "categorical")
    assert (out.kind, out.values.tolist(), out.size) == ("categorical", [0, -1, 1], 2)
    assert out.values.dtype == np.int32


def test_categorical_numbers_and_nan():
    assert feature([4.0, float("nan"), 4.0], "categorical").values.tolist() == [
        0,
        -1,
        0,
    ]


def test_enum_keeps_its_own_codes():
    values = pl.Series(["z", None, "x"], dtype=pl.Enum(["x", "y", "z"]))
    out = feature(values, "categorical")
    assert (out.values.tolist(), out.size) == ([2, -1, 0], 3)


def test_multi_of_strings_and_of_lists_is_padded_and_without_repeats():
    for values in (["q|p|q", None, "p"], [["q", "p", "q"], [], ["p"]]):
        out = feature(values, "multi")
        assert out.values.tolist() == [[0, 1], [-1, -1], [1, -1]]
        assert (out.size, out.values.dtype) == (2, np.int32)


def test_multi_without_any_value_has_one_missing_column():
    out = feature(pl.Series([None, "", "|"], dtype=pl.String), "multi")
    assert (out.values.tolist(), out.size) == ([[-1], [-1], [-1]], 0)


def test_numeric_is_standardised_over_known_values():
    # mean 2, deviation 1 over {1, 3}; the missing one is 0
    out = feature([1.0, None, 3.0], "numeric")
    assert (out.values.tolist(), out.size) == ([-1.0, 0.0, 1.0], 0)
    assert out.values.dtype == np.float32


def test_constant_numeric_is_zero():
    assert feature([7, 7, 7], "numeric").values.tolist() == [0.0, 0.0, 0.0]


def test_feature_rows_are_matched_by_id_not_by_order():
    frame = pl.DataFrame({"user": [2, 1, 3], "item": [1, 1, 1]})
    table = pl.DataFrame({"user": ["1", "2", "9"], "f": ["one", "two", "nine"]})
    log = build_log(frame, where="here", user_features=table)
    out = log.user_features["f"]
    # codes by first appearance over the users of the log: two, one, missing
    assert (out.values.tolist(), out.size) == ([0, 1, -1], 2)


def test_kinds_come_from_types_where_none_are_given():
    frame = pl.DataFrame({"user": [1, 2], "item": [5, 6]})
    table = pl.DataFrame(
        {"item": [5, 6], "a": ["x", "y"], "b": [1.5, 2], "c": [[1], []]}
    )
    log = build_log(frame, where="here", item_features=table)
    kinds = {name: value.kind for name, value in log.item_features.items()}
    assert kinds == {"a": "categorical", "b": "numeric", "c": "multi"}


BAD_FEATURES = {
    "text number": (["1", "two", "3"], "numeric", "column 'f': 'two' is not a number"),
    "infinite": ([1.0, float("inf"), 2.0], "numeric", "column 'f': inf is infinite"),
    "lists": ([[1], [2], [3]], "categorical", "'f' holds lists; declare it as 'multi'"),
    "lists as numbers": ([[1], [2], [3]], "numeric", "'f' has values of type List"),
    "kind": ([1, 2, 3], "text", "kind of feature 'f'='text' is unknown; choose one of"),
}


@pytest.mark.parametrize("name", BAD_FEATURES)
def test_bad_features_are_named(name):
    values, kind, message = BAD_FEATURES[name]
    with pytest.raises(InputError, match=message):
        feature(values, kind)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], "people: row 3, column 'user': 'a' is there twice"),
        (
            ["x", "y", "z"],
            "people: none of its ids in column 'user' .such as 'x'. occurs",
        ),
        ([], "people: has no rows"),
        (["a", None, "b"], "people: row 2, column 'user': an empty value"),
    ],
)
def test_bad_feature_tables_are_named(ids, message):
    frame = pl.DataFrame({"user": ["a", "b"], "item": [1, 2]})
    ids = pl.Series(ids, dtype=pl.String)
    table = pl.DataFrame({"user": ids, "f": pl.Series([1] * len(ids), dtype=pl.Int64)})
    with pytest.raises(InputError, match=message):
        build_log(frame, where="here", user_features=table, users_where="people")


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
    return build_log(frame, where="here", user_features=users, dropped={"before": 1})


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


def test_what_loses_its_last_row_leaves_but_a_catalogue_stays():
    frame = pl.DataFrame({"user": [1, 1, 2], "item": ["x", "y", "z"]})
    log = build_log(frame, where="here", catalogue=pl.Series(["never"]))
    out = filter_log(log, min_user_positives=2, min_item_positives=1)
    assert out.item_ids.to_list() == ["x", "y", "never"]
    assert out.dropped["items left without rows"] == 1


@pytest.mark.parametrize(
    ("minimums", "message"),
    [
        ((4, 1), "data.min_user_positives=4 leaves no positive .*one user has is 3"),
        ((1, 4), "data.min_item_positives=4 leaves no positive .*one item has is 3"),
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
    name = fingerprint(log, parts)
    assert name == fingerprint(funnel(), split(funnel(), config))
    # Pinned: the value must not depend on machine, process or version.
    assert name == "4e1c4fdb9bb2"
    swapped = replace(parts, valid=parts.test, test=parts.valid)
    others = {
        fingerprint(replace(log, user_ids=pl.Series(["a", "bc", ""])), parts),
        fingerprint(replace(log, user_ids=pl.Series(["ab", "c", ""])), parts),
        fingerprint(replace(log, stage=log.stage[::-1]), parts),
        fingerprint(replace(log, time=None), parts),
        fingerprint(replace(log, rank=np.zeros(8, np.int32)), parts),
        fingerprint(replace(log, user_features={}), parts),
        fingerprint(log, swapped),
    }
    assert len(others) == 7 and name not in others
    assert fingerprint(replace(log, dropped={}), parts) == name
