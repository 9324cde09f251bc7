"""Tables of items: the column of ids, and the kind of each feature."""

import polars as pl
import pytest

from twotower_jax.data.guess.log import guess_log
from twotower_jax.errors import InputError


def guess(folder, items, ids):
    """Return the guess about a log of some ids and a table of items."""
    pl.DataFrame(items).write_csv(folder / "items.csv")
    rows = {"user": [f"u{i % 5}" for i in range(200)]}
    pl.DataFrame(rows | {"item": ids}).write_csv(folder / "log.csv")
    return guess_log(folder / "log.csv", {"item": folder / "items.csv"}, {})


def test_numbers_that_are_ids_are_categories_and_quantities_are_numbers(tmp_path):
    rows = range(200)
    items = {
        "product_id": rows,
        "maker_id": [i % 60 for i in rows],
        "grams": [i % 60 for i in rows],
        "shelf": [i % 6 for i in rows],
        "batch_id": range(1_000, 1_200),
    }
    found = guess(tmp_path, items, rows)
    assert found.keys["items_id"] == "product_id"
    assert found.keys["candidate_features"] == {
        "maker_id": "categorical",
        "grams": "numeric",
        "shelf": "categorical",
    }
    left = f"{tmp_path / 'items.csv'}: column 'batch_id' is left out: nearly every row"
    assert found.notes == [f"{left} has its own id"]


ITEM = {"item": [f"i{i}" for i in range(40)]}


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        (
            {
                "title": [f"title {i}" for i in range(40)],
                "release year": [i % 3 for i in range(40)],
                "id": range(40),
            },
            [
                "no column beside the ids in 'item' is a feature: title (nearly every "
                "row has its own text); release year (rename it: letters, digits and _ "
                "only); id (the name is that of an input of every tower; rename it); "
                "add one, or leave out --items"
            ],
        ),
        (
            {
                "added": [f"2020-01-{i % 28 + 1:02}" for i in range(40)],
                "price": [f"{i},{i + 10}" for i in range(40)],
                **{name: [f"{name}{i}" for i in range(40)] for name in "abc"},
            },
            [
                "added (times are not a feature)",
                "'0,10' are read with a decimal point; write them so); a (nearly",
                "; and 2 more; add one",
            ],
        ),
        ({}, ["has one column only", "a table of --items or --users ids and features"]),
    ],
    ids=["names", "contents", "ids alone"],
)
def test_a_table_without_a_feature_is_refused_in_one_line(columns, parts, tmp_path):
    with pytest.raises(InputError) as caught:
        guess(tmp_path, ITEM | columns, [f"i{i % 40}" for i in range(200)])
    text = str(caught.value)
    assert "\n" not in text and all(part in text for part in parts), text
