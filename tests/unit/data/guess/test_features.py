"""Columns of a log that have one value for each item or user are noted."""

import polars as pl
import pytest

from twotower_jax.data.guess.log import guess_log

USERS, ITEMS = 30, 12
ROWS = [(user, (user + step) % ITEMS) for user in range(USERS) for step in range(6)]


def notes_of(folder, column, values):
    rows = {"user": [u for u, _ in ROWS], "item": [f"i{i}" for _, i in ROWS]}
    pl.DataFrame(rows | {column: values}).write_parquet(folder / "log.parquet")
    guess = guess_log(folder / "log.parquet", {}, {})
    assert column not in {one.name for one in guess.columns.values()}
    return [note for note in guess.notes if "has one value for each" in note]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        (
            "section",
            [f"s{item % 4}" for _, item in ROWS],
            "data.candidate_features.section=categorical towers.candidate=[id,section]",
        ),
        (
            "cost",
            [1.5 * (item % 7) for _, item in ROWS],
            "data.candidate_features.cost=numeric towers.candidate=[id,cost]",
        ),
        (
            "country",
            ["no" if user % 3 else "is" for user, _ in ROWS],
            "data.query_features.country=categorical towers.query=[id,country]",
        ),
    ],
)
def test_the_remark_names_the_keys_of_the_feature(column, values, words, tmp_path):
    (note,) = notes_of(tmp_path, column, values)
    assert f"column {column!r} has one value for each" in note and words in note
    assert ("numbers are codes" in note) == (column == "cost")


def test_values_that_change_are_no_feature(tmp_path):
    values = [f"d{(user + item) % 5}" for user, item in ROWS]
    assert not notes_of(tmp_path, "place", values)


def test_one_row_for_each_item_shows_nothing(tmp_path):
    rows = {"user": list("abcd") * 5, "item": range(20), "section": ["x", "y"] * 10}
    pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet")
    guess = guess_log(tmp_path / "log.parquet", {}, {})
    assert not [note for note in guess.notes if "each item" in note]
