"""Codes of whole numbers by a table equal those by a join."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.data import encode


def joined(values, vocabulary):
    place = {one: code for code, one in enumerate(vocabulary.to_list())}
    return [place.get(one, -1) for one in values.to_list()]


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Int64, pl.UInt32, pl.UInt64])
@pytest.mark.parametrize("low", [0, 100])
def test_a_table_gives_the_codes_of_a_join(dtype, low):
    rng = np.random.default_rng(0)
    vocabulary = pl.Series(rng.permutation(20)[:12] + low, dtype=dtype)
    values = pl.Series(rng.integers(0, 127, 500), dtype=dtype)
    assert encode._dense_codes(values, vocabulary) is not None
    found = encode.codes_of(values, vocabulary)
    assert found.dtype == np.int32
    assert found.tolist() == joined(values, vocabulary)
    assert (found >= 0).any() and (found < 0).any()


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([-(2**63), 2**63 - 1, 0, 1, 5]),
        pl.Series([2**64 - 1, 2**63, 0, 1, 5], dtype=pl.UInt64),
    ],
)
def test_numbers_at_the_ends_are_outside(values):
    vocabulary = pl.Series([5, 1, 0], dtype=values.dtype)
    assert encode.codes_of(values, vocabulary).tolist() == [-1, -1, 2, 1, 0]


@pytest.mark.parametrize(
    ("values", "vocabulary"),
    [
        (pl.Series([1, 10**12]), pl.Series([10**12, 1])),  # wide
        (pl.Series([1, None]), pl.Series([1, 2])),
        (pl.Series([1, 2]), pl.Series([2, None])),
        (pl.Series(["1"]), pl.Series(["1"])),
        (pl.Series([1.0]), pl.Series([1.0])),
        (pl.Series([-(2**63), 2**63 - 1]), pl.Series([2**63 - 1, -(2**63)])),
    ],
)
def test_others_are_joined(values, vocabulary):
    assert encode._dense_codes(values, vocabulary) is None
    assert (encode.codes_of(values, vocabulary) >= -1).all()
