"""Features of a log: codes, missing values, scales, and refused input."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.build import SideTable, build_log
from twotower_jax.errors import InputError


def feature(values, kind, ids=("a", "b", "c")):
    frame = pl.DataFrame({"user": list(ids), "item": [1] * len(ids)})
    table = pl.DataFrame({"user": list(ids), "f": values})
    log = build_log(frame, where="here", users=SideTable(table, {"f": kind}))
    return log.user_features["f"]


def test_categorical_codes_and_missing():
    out = feature(["x", None, "w"], "categorical")
    assert (out.kind, out.values.tolist(), out.size) == ("categorical", [0, -1, 1], 2)
    assert out.values.dtype == np.int32
    assert out.vocabulary is not None and out.vocabulary.to_list() == ["x", "w"]


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
    assert out.vocabulary is not None and out.vocabulary.to_list() == ["x", "y", "z"]


def test_multi_of_strings_and_of_lists_is_padded_and_without_repeats():
    for values in (["q|p|q", None, "p"], [["q", "p", "q"], [], ["p"]]):
        out = feature(values, "multi")
        assert out.values.tolist() == [[0, 1], [-1, -1], [1, -1]]
        assert (out.size, out.values.dtype) == (2, np.int32)
        assert out.vocabulary is not None and out.vocabulary.to_list() == ["q", "p"]


def test_multi_without_any_value_has_one_missing_column():
    out = feature(pl.Series([None, "", "|"], dtype=pl.String), "multi")
    assert (out.values.tolist(), out.size) == ([[-1], [-1], [-1]], 0)


def test_numeric_is_standardised_over_present_values():
    # mean 2, deviation 1 over {1, 3}; the missing one is 0
    out = feature([1.0, None, 3.0], "numeric")
    assert (out.values.tolist(), out.size) == ([-1.0, 0.0, 1.0], 0)
    assert (out.mean, out.deviation, out.vocabulary) == (2.0, 1.0, None)
    assert out.values.dtype == np.float32


def test_constant_numeric_is_zero():
    out = feature([7, 7, 7], "numeric")
    assert (out.values.tolist(), out.mean, out.deviation) == ([0.0] * 3, 7.0, 0.0)


def test_feature_rows_are_matched_by_id_not_by_order():
    frame = pl.DataFrame({"user": [2, 1, 3], "item": [1, 1, 1]})
    table = pl.DataFrame({"user": ["1", "2", "9"], "f": ["one", "two", "nine"]})
    log = build_log(frame, where="here", users=SideTable(table))
    out = log.user_features["f"]
    # codes by first appearance over the users of the log: two, one, missing
    assert (out.values.tolist(), out.size) == ([0, 1, -1], 2)


def test_kinds_come_from_types_where_none_are_given():
    frame = pl.DataFrame({"user": [1, 2], "item": [5, 6]})
    table = pl.DataFrame(
        {"item": [5, 6], "a": ["x", "y"], "b": [1.5, 2], "c": [[1], []]}
    )
    log = build_log(frame, where="here", items=SideTable(table))
    kinds = {name: value.kind for name, value in log.item_features.items()}
    assert kinds == {"a": "categorical", "b": "numeric", "c": "multi"}


BAD_FEATURES = {
    "text number": (["1", "two", "3"], "numeric", "column 'f': 'two' is not a number"),
    "infinite": ([1.0, float("inf"), 2.0], "numeric", "column 'f': inf is infinite"),
    "too large": ([1.0, -1e308, 2.0], "numeric", "column 'f': -1e.308 is too large"),
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
        (["a", "b", "a"], "people: row 3, column 'user': 'a' occurs twice"),
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
        build_log(frame, where="here", users=SideTable(table, where="people"))
