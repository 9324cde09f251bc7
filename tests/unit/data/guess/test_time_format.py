"""Times such as 31/05/2024: the form is found where it is certain, and is read."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from twotower_jax.data import sources
from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.guess.log import guess_log
from twotower_jax.data.parse import to_time
from twotower_jax.data.prepared.load import load as load_prepared
from twotower_jax.data.prepared.prepare import prepare
from twotower_jax.errors import InputError

FIRST = datetime(2024, 4, 27, 21, 5, tzinfo=UTC)
FORMS = (
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%y, %I:%M %p",
    "%d-%m-%Y",
    "%m.%d.%y",
    "%d.%m.%y %H:%M",
)


def moments(first=FIRST):
    """Return times two hours apart, over 66 days."""
    return [first + timedelta(hours=2 * row) for row in range(800)]


def write(path, texts):
    rows = (f"u{row % 40},i{row % 23},{text!r}" for row, text in enumerate(texts))
    body = "\n".join(["user,item,at", *rows]).replace("'", '"')
    path.write_text(body + "\n")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_is_certain_is_found_and_reads_the_times(form, tmp_path):
    times = moments()
    log = write(tmp_path / "log.csv", [time.strftime(form) for time in times])
    guess = guess_log(log, {}, {})
    assert guess.columns["time"].name == "at" and guess.keys["time_format"] == form
    columns = ColumnsConfig(user="user", item="item", time="at")
    config = DataConfig("table", str(log), time_format=form, columns=columns)
    read = sources.load(config).time
    kept = [datetime.strptime(time.strftime(form), form) for time in times]
    assert read is not None
    np.testing.assert_array_equal(
        read, [time.replace(tzinfo=UTC).timestamp() for time in kept]
    )


def test_a_prepared_log_has_the_same_times(tmp_path):
    log = write(tmp_path / "log.csv", [one.strftime(FORMS[0]) for one in moments()])
    columns = ColumnsConfig(user="user", item="item", time="at")
    config = DataConfig("table", str(log), time_format=FORMS[0], columns=columns)
    prepare(config, tmp_path / "prepared", lambda *_: None)
    ready = DataConfig("prepared", str(tmp_path / "prepared"), split="given")
    stored = load_prepared(ready)
    np.testing.assert_array_equal(stored.time, sources.load(config).time)


def test_two_forms_that_both_read_all_rows_are_left_to_the_user(tmp_path):
    days = [f"{1 + row % 9}/{1 + row % 11}/2024" for row in range(400)]
    guess = guess_log(write(tmp_path / "log.csv", days), {}, {})
    assert "time" not in guess.columns and "time_format" not in guess.keys
    (note,) = guess.notes
    assert "data.time_format='%d/%m/%Y' or data.time_format='%m/%d/%Y'" in note
    assert "give data.columns.time=at" in note


def test_a_named_column_of_times_gets_its_form(tmp_path):
    log = write(tmp_path / "log.csv", [one.strftime(FORMS[1]) for one in moments()])
    guess = guess_log(log, {}, {"time": "at"})
    assert guess.keys["time_format"] == FORMS[1]


@pytest.mark.parametrize(
    ("values", "form", "parts"),
    [
        (["1/5/2024", "5/31/2024"], "%d/%m/%Y", ["row 2", "'5/31/2024'", "%d/%m/%Y"]),
        (["1/5/2024"], "%d/%m", ["data.time_format='%d/%m'", "such as '%d/%m/%Y"]),
        (["1/5/2024"], "day first", ["data.time_format='day first'", "strftime"]),
        ([1.5], "%d/%m/%Y", ["Float64", "leave data.time_format out"]),
        ([None, "1/5/2024"], "%d/%m/%Y", ["row 1", "give every row a time"]),
    ],
)
def test_times_of_another_form_are_refused(values, form, parts):
    with pytest.raises(InputError) as error:
        to_time(pl.Series(values), "log.csv", "at", form)
    assert all(part in str(error.value) for part in parts), error.value


def test_whole_numbers_may_be_days():
    found = to_time(pl.Series([19700102, 19700103]), "log.csv", "day", "%Y%m%d")
    assert found.to_list() == [86_400.0, 172_800.0]


def test_a_form_without_a_column_of_times_is_refused(tmp_path):
    log = write(tmp_path / "log.csv", ["31/5/2024"] * 40)
    config = DataConfig("table", str(log), time_format="%d/%m/%Y")
    with pytest.raises(InputError, match=r"set data\.columns\.time to its name"):
        sources.load(config)
