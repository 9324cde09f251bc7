"""Tables of items: the column of ids, and the kind of each feature."""

from pathlib import Path

import polars as pl

from twotower_jax.data.guess.layout import Layout, Sample
from twotower_jax.data.guess.side import guess_side


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
    assert guess.notes == [
        "products.csv: column 'batch_id' is left out: nearly every row has its own id"
    ]
