"""Vectors in cells: what is read, what is refused, and what is guessed."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.encode import encode_feature
from twotower_jax.data.guess.profile import feature_kind, profile
from twotower_jax.data.parse import to_vectors
from twotower_jax.errors import InputError

ROWS = [[0.5, -1.0, 2.0], None, [3.0, 0.0, 4.0]]
COLUMNS = {
    "lists": pl.Series(ROWS),
    "arrays": pl.Series(ROWS, dtype=pl.Array(pl.Float32, 3)),
    "bars": pl.Series(["0.5|-1|2", "", "3|0|4"]),
    "brackets": pl.Series(["[0.5, -1.0, 2e0]", None, "[3.0 0.0  4.0]"]),
    "lists of texts": pl.Series([["0.5", "-1", "2"], [], ["3", "0", "4"]]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_vector_has_length_1_and_a_missing_one_is_0(name):
    feature = encode_feature(COLUMNS[name], "vector", "items.csv", "text")
    norm = np.sqrt(5.25)
    expected = [[0.5 / norm, -1 / norm, 2 / norm], [0, 0, 0], [0.6, 0, 0.8]]
    np.testing.assert_allclose(feature.values, expected, rtol=1e-6)
    assert feature.values.dtype == np.float32 and feature.size == 0


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([[1.0, 2.0], [1.0, 2.0], [3.0]], "row 3, column 'text': 1 numbers, but other"),
        (["1|2", "1|x"], "row 2, column 'text': number 2 of 2 is 'x', which is not"),
        ([[1.0, 2.0], [1.0, None]], "row 2, .*number 2 of 2 is an empty value"),
        ([[1.0, float("nan")]], "row 1, .*number 2 of 2 is nan, which is not a finite"),
        ([[1.0, 1e300]], "row 1, .*number 2 of 2 is 1e.300, which is not a finite"),
        ([None, ""], "column 'text' has no vector in any row; leave it out"),
        ([1.5, 2.5], "column 'text' has values of type Float64; give lists of numbers"),
    ],
)
def test_what_is_no_vector_is_refused_with_its_row(values, text):
    with pytest.raises(InputError, match=f"items.csv: {text}"):
        to_vectors(pl.Series(values), "items.csv", "text")


def test_lists_of_fractions_are_vectors():
    rows = {
        "text": [[0.5, float(i)] for i in range(20)],
        "fixed": pl.Series([[i, 0.25] for i in range(20)], dtype=pl.Array(float, 2)),
        "bars": [f"{i}.5|-1|2" for i in range(20)],
        "printed": [f"[{i}.5, -1]" for i in range(20)],
        "tags": [[i % 3, 4] for i in range(20)],
        "words": [f"a{i % 4}|b" for i in range(20)],
    }
    kinds = {c.name: feature_kind(profile(c), 20) for c in pl.DataFrame(rows)}
    vectors = dict.fromkeys(("text", "fixed", "bars", "printed"), "vector")
    assert kinds == vectors | {"tags": "multi", "words": "multi"}


def test_new_vectors_have_the_length_of_the_log():
    with pytest.raises(InputError, match="row 2, .*: 1 numbers, but the log has 2;"):
        to_vectors(pl.Series([[1.0, 2.0], [3.0]]), "the frame", "text", width=2)
    assert to_vectors(pl.Series([None]), "the frame", "text", width=2).to_list() == [
        None
    ]
