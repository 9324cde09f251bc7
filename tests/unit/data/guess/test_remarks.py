"""Remarks about columns without a role: amounts, features, visits and marks."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.guess.log import guess_log
from twotower_jax.data.parse import check_clicks, to_clicked

ROWS = 400


def amount_notes(tmp_path, name, amounts, more=None):
    path = tmp_path / "plays.csv"
    columns = {
        "listener": np.arange(ROWS) // 4,
        "episode": np.arange(ROWS) % 37,
        "started_at": 1_500_000_000 + np.arange(ROWS),
        name: amounts,
    } | (more or {})
    lines = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    found = guess_log(path, {}, {}).notes
    return [one for one in found if "min_rating" in one or "positives.weight" in one]


@pytest.mark.parametrize("name", ["seconds_played", "completion", "listen_count"])
def test_an_amount_is_offered_as_weight_and_as_a_limit(tmp_path, name):
    (note,) = amount_notes(tmp_path, name, np.arange(ROWS) % 101)
    assert "(0 to 100)" in note
    assert f"positives.weight={name}" in note
    assert f"data.columns.rating={name} data.min_rating=X" in note


def test_beside_clicks_it_is_a_weight_alone(tmp_path):
    clicks = {"clicked": np.arange(ROWS) % 2}
    (note,) = amount_notes(tmp_path, "seconds_played", np.arange(ROWS) % 101, clicks)
    assert "positives.weight=seconds_played" in note
    assert "min_rating" not in note


def test_returned_goods_are_positives_that_a_limit_leaves_out(tmp_path):
    (note,) = amount_notes(tmp_path, "Quantity", np.arange(ROWS) % 101 - 1)
    assert "(-1 to 99), below 0 in 4 rows, as for returned goods" in note
    assert "data.columns.rating=Quantity data.min_rating=1" in note
    clicks = {"clicked": np.arange(ROWS) % 2}
    assert amount_notes(tmp_path, "Quantity", np.arange(ROWS) % 101 - 1, clicks) == []


@pytest.mark.parametrize(
    ("name", "amounts"),
    [
        ("shade", np.arange(ROWS) % 101),
        ("seconds_played", np.where(np.arange(ROWS) % 101, "5", "")),
        ("seconds_played", np.arange(ROWS) % 2),
    ],
    ids=["another name", "missing values", "a mark"],
)
def test_other_columns_are_no_amounts(tmp_path, name, amounts):
    assert amount_notes(tmp_path, name, amounts) == []


def test_the_length_of_an_item_is_none(tmp_path):
    lengths = (np.arange(ROWS) % 37) // 2 * 100
    assert amount_notes(tmp_path, "duration", lengths) == []


USERS, ITEMS = 30, 12
PAIRS = [(user, (user + step) % ITEMS) for user in range(USERS) for step in range(6)]


def feature_notes(folder, column, values):
    rows = {"user": [u for u, _ in PAIRS], "item": [f"i{i}" for _, i in PAIRS]}
    pl.DataFrame(rows | {column: values}).write_parquet(folder / "log.parquet")
    guess = guess_log(folder / "log.parquet", {}, {})
    assert column not in {one.name for one in guess.columns.values()}
    return [note for note in guess.notes if "has one value for each" in note]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        (
            "section",
            [f"s{item % 4}" for _, item in PAIRS],
            "data.candidate_features.section=categorical towers.candidate=[id,section]",
        ),
        (
            "cost",
            [1.5 * (item % 7) for _, item in PAIRS],
            "data.candidate_features.cost=numeric towers.candidate=[id,cost]",
        ),
        (
            "country",
            ["no" if user % 3 else "is" for user, _ in PAIRS],
            "data.query_features.country=categorical towers.query=[id,country]",
        ),
    ],
)
def test_the_remark_names_the_keys_of_the_feature(column, values, words, tmp_path):
    (note,) = feature_notes(tmp_path, column, values)
    assert f"column {column!r} has one value for each" in note and words in note
    assert ("numbers are codes" in note) == (column == "cost")


def test_values_that_change_are_no_feature(tmp_path):
    values = [f"d{(user + item) % 5}" for user, item in PAIRS]
    assert not feature_notes(tmp_path, "place", values)


def test_one_row_for_each_item_shows_nothing(tmp_path):
    rows = {"user": list("abcd") * 5, "item": range(20), "section": ["x", "y"] * 10}
    pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet")
    guess = guess_log(tmp_path / "log.parquet", {}, {})
    assert not [note for note in guess.notes if "each item" in note]


def visited(tmp_path, cook):
    path = tmp_path / "visits.csv"
    lines = [
        f"{cook(i // 4)},{i // 4},{i % 37},{1_500_000_000 + i}" for i in range(800)
    ]
    path.write_text("cook,session,recipe,when\n" + "\n".join(lines) + "\n")
    return guess_log(path, {}, {})


def test_a_column_of_one_value_in_each_visit_is_offered_as_the_users(tmp_path):
    made = visited(tmp_path, lambda visit: f"c{visit % 50}")
    assert made.columns["user"].name == "session"
    (note,) = made.notes
    assert "data.columns.user=cook data.columns.request=session" in note


def test_columns_of_few_values_or_of_one_per_visit_are_not(tmp_path):
    assert visited(tmp_path, lambda visit: f"c{visit % 5}").notes == []
    assert visited(tmp_path, lambda visit: f"c{visit}").notes == []


@pytest.mark.parametrize(
    ("name", "values", "noted"),
    [
        ("finished", [True, False, True, True], "(true 75%, false 25%)"),
        ("ended", ["1", "0", "1", "1"], "(1 75%, 0 25%)"),
        ("skipped", [True, False, False, False], "data.clicked_values=[false] makes"),
        ("device", ["tv", "web", "tv", "tv"], None),  # no marks
        ("finished", [True] * 4, None),
    ],
)
def test_marks_of_rows(name, values, noted, tmp_path):
    rows = {"listener": list("abcd"), "episode": [f"e{i}" for i in range(4)]}
    path = tmp_path / "plays.parquet"
    pl.DataFrame(rows | {name: values}).write_parquet(path)
    guess = guess_log(path, {}, {})
    assert "clicked" not in guess.columns
    wanted = [] if noted is None else [noted, f"data.columns.clicked={name} "]
    notes = [note for note in guess.notes if f"column {name!r} marks" in note]
    assert len(notes) == bool(noted)
    assert all(text in note for note in notes for text in wanted)


@pytest.mark.parametrize(
    ("values", "yes"),
    [
        (["Y", "N", "N", "Y"], "Y"),
        (["no", "no", "yes", "no"], "yes"),
        (["Y", "X", "Y", "Y"], None),  # two words that mean nothing here
    ],
)
def test_yes_and_no_are_clicks_by_name_and_marks_without(values, yes, tmp_path):
    rows = {"listener": list("abcd"), "episode": [f"e{i}" for i in range(4)]}
    for name in ("clicked", "archived"):
        path = tmp_path / f"{name}.csv"
        pl.DataFrame(rows | {name: values}).write_csv(path)
        guess = guess_log(path, {}, {})
        named = name == "clicked" and yes is not None
        assert ("clicked" in guess.columns) == named
        assert guess.keys.get("clicked_values") == ([yes] if named else None)
        keys = f"data.columns.clicked={name} data.clicked_values=[{yes}]"
        noted = any(keys in note for note in guess.notes)
        assert noted == (name == "archived" and yes is not None)


def test_a_time_of_the_click_alone_is_not_that_of_the_rows(tmp_path):
    day = "2026-01-0"
    path = tmp_path / "mails.csv"
    rows = {
        "recipient": list("abcd"),
        "link": list("wxyz"),
        "clicked_at": [f"{day}3", None, None, None],
        "sent_at": [f"{day}{number}" for number in (1, 1, 2, 2)],
    }
    pl.DataFrame(rows).write_csv(path)
    guess = guess_log(path, {}, {})
    assert guess.columns["time"].name == "sent_at"


def test_true_and_false_are_read_as_hydra_gives_them():
    values = pl.Series(["true", "false", "False"])
    assert to_clicked(values, "a.csv", "skipped", ("False",)).to_list() == [4, 5, 5]
    check_clicks(values, "a.csv", "skipped", ("True",))


@pytest.mark.parametrize("word, used", [("pre_ranked", True), ("PreRank", False)])
def test_other_words_for_stages_are_named(word, used, tmp_path):
    path = tmp_path / "funnel.parquet"
    rows = {"user": list("abcd"), "item": list("wxyz")}
    stages = {"stage": [word, "ranked", "exposed", "clicked"]}
    pl.DataFrame(rows | stages).write_parquet(path)
    guess = guess_log(path, {}, {})
    assert ("stage" in guess.columns) == used
    noted = [n for n in guess.notes if "PreRank 25%" in n and "pre_ranked, ranked" in n]
    assert len(noted) == (not used)


def test_numbers_for_events_are_noted(tmp_path):
    path = tmp_path / "log.parquet"
    rows = {"user": list("abcd"), "item": list("wxyz"), "behavior_type": [1, 1, 4, 3]}
    pl.DataFrame(rows).write_parquet(path)
    guess = guess_log(path, {}, {})
    assert "clicked" not in guess.columns
    assert any("'behavior_type' holds events (1 50%" in note for note in guess.notes)
