"""Tables of items: the column of ids, and the kind of each feature."""

from pathlib import Path

import polars as pl
import pytest

from twotower_jax.data.guess.layout import Layout, Sample
from twotower_jax.data.guess.log import guess_log
from twotower_jax.data.guess.side import guess_side
from twotower_jax.errors import InputError


def test_numbers_that_are_ids_are_categories_and_quantities_are_numbers():
    rows = 200
    table = pl.DataFrame(
        {
            "product_id": range(rows),
            "maker_id": [i % 60 for i in range(rows)],
            "grams": [i % 60 for i in range(rows)],
            "shelf": [i % 6 for i in range(rows)],
            "batch_id": range(1_000, 1_000 + rows),
        }
    )
    sample = Sample(table, Layout(), Path("products.csv"))
    guess = guess_side(sample, "item", pl.Series(range(rows)), "product_id")
    assert guess.key == "product_id"
    assert guess.kinds == {
        "maker_id": "categorical",
        "grams": "numeric",
        "shelf": "categorical",
    }
    assert guess.notes("products.csv") == [
        "products.csv: column 'batch_id' is left out: nearly every row has its own id"
    ]


def refused(folder, header, row):
    """Return the message for a table of items without a feature."""
    log, items = folder / "log.csv", folder / "items.csv"
    rows = [f"u{i % 5},i{i % 40}" for i in range(200)]
    log.write_text("\n".join(["user,item", *rows]) + "\n")
    lines = [row(i) for i in range(40)]
    items.write_text("\n".join([header, *lines]) + "\n")
    with pytest.raises(InputError) as caught:
        guess_log(log, {"item": items}, {})
    return str(caught.value).replace(f"{items}", "items.csv")


def test_columns_that_cannot_be_features_are_named_with_the_reason(tmp_path):
    text = refused(
        tmp_path, "item,title,release year,id", lambda i: f"i{i},title {i},{i % 3},{i}"
    )
    assert "title (nearly every row has its own text)" in text
    assert "release year (rename it: letters, digits and _ only)" in text
    assert "id (the name is that of an input of every tower; rename it)" in text


def test_a_table_without_a_feature_is_refused_in_one_short_line(tmp_path):
    text = refused(
        tmp_path,
        "item,title,url,text,plot,added",
        lambda i: f"i{i},t{i},u{i},x{i},p{i},2020-01-{i % 28 + 1:02}",
    )
    assert text.startswith("items.csv: no column beside the ids in 'item' is a feature")
    assert "title, url and 2 more (nearly every row has its own text)" in text
    assert "added (times are not a feature)" in text
    assert text.endswith("; add one, or leave out --items")
    assert len(text) < 200


def test_a_table_of_ids_alone_is_not_called_a_log(tmp_path):
    text = refused(tmp_path, "item", lambda i: f"i{i}")
    assert "has one column only" in text
    assert "a table of --items or --users ids and features" in text


def test_numbers_with_a_decimal_comma_are_named_and_not_taken_for_lists():
    frame = pl.DataFrame({"item": ["a", "b", "c"], "price": ["3,5", "4,12", "4"]})
    sample = Sample(frame, Layout(), Path("items.csv"))
    found = guess_side(sample, "item", pl.Series(["a", "b"]), "item")
    assert found.kinds == {}
    (note,) = found.notes("items.csv")
    assert "'price'" in note and "'3,5' are read with a decimal point" in note
