"""Numbers beyond the range of a counter: the right result, or a refusal."""

import polars as pl
import pytest
from helpers import tiny

from twotower_jax.data.encode import encode_requests
from twotower_jax.data.parse import to_time
from twotower_jax.errors import InputError


@pytest.mark.parametrize(
    ("requests", "codes"),
    [
        ([2**63 - 1, None, -(2**63), None], [0, 3, 2, 4]),
        ([2**63 - 2, None], [2**63 - 2, 2**63 - 1]),
    ],
)
def test_rows_without_a_request_are_requests_of_their_own(requests, codes):
    assert encode_requests(pl.Series(requests), "a.csv").tolist() == codes


def test_unsigned_requests_beyond_int64_have_codes():
    requests = pl.Series([2**64 - 1, 3, 2**64 - 1], dtype=pl.UInt64)
    assert encode_requests(requests, "a.csv").tolist() == [0, 1, 0]


@pytest.mark.parametrize("as_text", [False, True])
def test_times_that_float64_does_not_tell_apart_are_refused(as_text):
    def series(values):
        return pl.Series([str(one) if as_text else one for one in values])

    with pytest.raises(InputError, match=r"row 2, .*9007199254740996'? is so large"):
        to_time(series([1, 2**53 + 4, 2**53 + 5]), "a.csv", "time")
    # Equal times are equal, and those of milliseconds in nanoseconds are exact.
    apart = [2**60, 2**60, 2**60 + 1_000_000]
    assert to_time(series(apart), "a.csv", "time").to_list() == list(map(float, apart))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("training.steps=2147483648", "training.steps=2147483648 is out of range"),
        ("training.epochs=99999999999", "and a training has at most 2,147,483,647"),
    ],
)
def test_more_steps_than_a_state_counts_are_refused(word, message, tmp_path, capsys):
    words = [one for one in tiny.SMALL if not one.startswith("training.steps")]
    assert tiny.command("train", *words, word, f"output={tmp_path}") == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*"))
