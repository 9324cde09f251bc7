"""build_log: ids, columns and times, and rows that are refused."""

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.build import build_log
from twotower_jax.data.log import Stage
from twotower_jax.errors import InputError


def make(**columns):
    return build_log(pl.DataFrame(columns), where="here")


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
def test_an_unknown_rank_is_minus_one(values):
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
        (["1970-01-01 00:01:00 UTC", "1970-01-01T01:00:00Z"], [60.0, 3600.0]),
        (["1970/01/01 00:01", "1970/01/02"], [60.0, 86400.0]),
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
        "row 2, column 'stage': 'bought' is not a stage; choose one of: retrieved",
    ),
    "stage number": (
        {"user": [1, 2], "item": [1, 2], "stage": [6, 5]},
        "row 1, column 'stage': 6 is not a stage",
    ),
    "stage type": ({"user": [1], "item": [1], "stage": [0.5]}, "give names of stages"),
    "rank below zero": (
        {"user": [1, 2], "item": [1, 2], "rank": [0, -2]},
        "row 2, column 'rank': -2 is not a rank; give a whole number from 0",
    ),
    "rank fraction": (
        {"user": [1, 2], "item": [1, 2], "rank": [0.5, 1]},
        "row 1, column 'rank': 0.5 is not a rank; give a whole number from 0",
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
        "row 2, column 'part': 3 is not a part",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_named(name):
    columns, message = BAD[name]
    with pytest.raises(InputError, match=message):
        make(**columns)
