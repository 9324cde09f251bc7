"""Units, spans and anomalies of times."""

import numpy as np
import pytest

from twotower_jax.data.guess.clock import anomalies, span
from twotower_jax.data.parse import check_unit
from twotower_jax.errors import InputError

NOW = 1_750_000_000.0


@pytest.mark.parametrize(
    ("factor", "name"),
    [
        (1, "seconds"),
        (10**3, "milliseconds"),
        (10**6, "microseconds"),
        (10**9, "nanoseconds"),
    ],
)
def test_a_span_is_in_dates_whatever_the_unit(factor, name):
    days = np.array([0.0, 364, 31]) * 86_400 + 1_577_836_800  # from 2020-01-01
    assert span(days * factor) == f"2020-01-01 to 2020-12-30 (364 days), in {name}"


def test_a_missing_time_is_no_part_of_the_span():
    times = np.array([0.0, 1_577_836_800, 1_577_923_200])
    assert span(times).startswith("2020-01-01 to 2020-01-02")


def test_two_units_name_a_row_of_each():
    times = np.array([1.6e9, 1.6e12, 1.6e9, 0, 1.6e12, 1.6e9])
    message = (
        r"a.csv: column 'at' has times in two units: 2 rows in milliseconds \(row 2: "
        r"1600000000000\), the others in seconds \(row 1: 1600000000\); write all"
    )
    with pytest.raises(InputError, match=message):
        check_unit(times, "a.csv", "at")
    check_unit(np.array([0.0, 1.6e9]), "a.csv", "at")
    check_unit(np.arange(5.0), "a.csv", "at")


@pytest.mark.parametrize(
    ("times", "text"),
    [
        ([1.6e9] * 3, "every row has the same time"),
        ([1.6e9, 0, 5e4, 1.7e9], "2 rows are dated 1970 or before"),
        ([1.6e12, 1.9e12, 1.7e12], "1 row is in the future, up to 2030-03-17"),
        ([1.6e9, 1.7e9] * 2_000, "only 2 distinct times"),
    ],
)
def test_an_anomaly_is_named(times, text):
    (found,) = anomalies(np.array(times), NOW)
    assert found.startswith(text)


@pytest.mark.parametrize("times", [np.arange(9.0), 1.6e9 + np.arange(9.0)])
def test_good_times_have_no_anomaly(times):
    assert anomalies(times, NOW) == []
