"""Columns with an amount for each row, such as a watch time, in `data check`."""

import numpy as np
import pytest

from twotower_jax.data.guess.log import guess_log

ROWS = 400


def notes(tmp_path, name, amounts, more=None):
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
    (note,) = notes(tmp_path, name, np.arange(ROWS) % 101)
    assert "(0 to 100)" in note
    assert f"positives.weight={name}" in note
    assert f"data.columns.rating={name} data.min_rating=X" in note


def test_beside_clicks_it_is_a_weight_alone(tmp_path):
    clicks = {"clicked": np.arange(ROWS) % 2}
    (note,) = notes(tmp_path, "seconds_played", np.arange(ROWS) % 101, clicks)
    assert "positives.weight=seconds_played" in note
    assert "min_rating" not in note


def test_returned_goods_are_positives_that_a_limit_leaves_out(tmp_path):
    (note,) = notes(tmp_path, "Quantity", np.arange(ROWS) % 101 - 1)
    assert "is below 0 in 4 rows of the sample (-1 at the least)" in note
    assert "data.columns.rating=Quantity data.min_rating=1" in note
    clicks = {"clicked": np.arange(ROWS) % 2}
    assert notes(tmp_path, "Quantity", np.arange(ROWS) % 101 - 1, clicks) == []


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
    assert notes(tmp_path, name, amounts) == []


def test_the_length_of_an_item_is_none(tmp_path):
    lengths = (np.arange(ROWS) % 37) // 2 * 100
    assert notes(tmp_path, "duration", lengths) == []
