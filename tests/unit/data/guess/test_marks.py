"""A column of two values that has no name of clicks is noted, and not used."""

import polars as pl
import pytest

from twotower_jax.data.guess.log import guess_log
from twotower_jax.data.parse import check_clicks, to_clicked


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
    assert any("'clicked_at' has a value in 25% of the rows" in n for n in guess.notes)


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
