"""Units, spans and anomalies of times."""

import numpy as np
import pytest

from twotower_jax.data.health import anomalies, span
from twotower_jax.data.parse import check_unit
from twotower_jax.errors import InputError

UNITS = {"seconds": 1, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}


@pytest.mark.parametrize("name", UNITS)
def test_a_span_is_in_dates_whatever_the_unit(name):
    days = np.array([0.0, 364, 31]) * 86_400 + 1_577_836_800  # from 2020-01-01
    text = f"2020-01-01 to 2020-12-30 (364 days), in {name}"
    assert span(days * UNITS[name]) == text
    # A missing time is no part of the span.
    assert span(np.append(0.0, days * UNITS[name])) == text


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
    ("times", "texts"),
    [
        ([1.6e9] * 3, ["every row has the same time"]),
        ([1.6e9, 0, 5e4, 1.7e9], ["2 of 4 rows dated 1970 or before"]),
        ([1.6e12, 1.9e12, 1.7e12], ["1 of 3 rows in the future, up to 2030-03-17"]),
        ([1.6e9, 1.7e9] * 2_000, ["only 2 distinct times"]),
        (np.arange(9.0), []),
        (1.6e9 + np.arange(9.0), []),
    ],
)
def test_an_anomaly_is_named(times, texts):
    found = list(anomalies(np.array(times), now=1.75e9))
    assert len(found) == len(texts)
    assert all(map(str.startswith, found, texts))
