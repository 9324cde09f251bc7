"""Files that are no log: each message names what was found and what to do."""

from pathlib import Path

import polars as pl
import pytest
from helpers.csv_tables import text

from twotower_jax.data.guess.log import guess_log
from twotower_jax.errors import InputError

BAD = {
    "no users": (
        "a.csv",
        text("item_id,price,date", lambda i: (i % 9, i * 0.5, "2020-01-01")),
        "nothing looks like a column of users; its columns are: item_id, price, date. "
        "Name it: data.columns.user=NAME",
    ),
    "a table of items": (
        "a.csv",
        text("movieId,title,shop", lambda i: (i, f"Film {i}", f"s{i % 4}")),
        "Each value of 'movieId' occurs once, so this may be a table of items: give "
        "the log as FILE and this file as --items",
    ),
    "one column": (
        "a.csv",
        text("user", lambda i: (i,)),
        "has one column only; a log needs a column of users and one of items",
    ),
    "one column of a parquet": ("a.parquet", None, "has one column only, 'user'"),
    "empty": ("a.csv", "", "is empty; give a file with rows"),
    "blank": ("a.csv", "\n\n\n", "give a file with rows"),
    "a page": ("a.csv", "<!DOCTYPE html>\n<html>\n", "is not a table: it begins with"),
    "zeros": ("a.csv", "a,c\n\n1\x00,2\n", "is not a table: line 3 has a NUL byte"),
    "a long field": (
        "a.csv",
        f"user,item\n1,2\n{'x' * 140_000},2\n",
        "a field has more than 131,072 characters, so the separator is not guessed; "
        "set data.separator=comma",
    ),
    "an array": ("a.json", '[{"user": 1, "item": 2}]', "is one JSON array; write JSON"),
    "colons": ("a.dat", "1::2::5::9\n1::3::4::9\n", "separated by '::', as in MovieL"),
    "comments": ("a.tsv", "# from\tto\n1\t2\n", "remove the lines that begin with #"),
    "header alone": ("a.csv", "user,item\n", "has a header and no rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_with_its_remedy(name, tmp_path):
    file, content, message = BAD[name]
    path = tmp_path / file
    if content is None:
        pl.DataFrame({"user": [1, 2]}).write_parquet(path)
    else:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        guess_log(path, {}, {})
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(InputError, match="is not a table"):
        guess_log(path, {}, {})
    path.rename(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"'.*' is a folder without a table; give"):
        guess_log(tmp_path, {}, {})
    with pytest.raises(InputError, match=r"does not exist; give an existing file"):
        guess_log(Path(tmp_path / "b.csv"), {}, {})


def notes_of(folder, content):
    path = folder / "a.csv"
    path.write_text(content)
    return " ".join(guess_log(path, {}, {}).notes)


def test_a_time_of_numbers_and_dates_is_noted_with_both(tmp_path):
    rows = text(
        "user,item,time",
        lambda i: (i % 7, i % 5, 1_600_000_000 + i if i % 2 else "2020-09-13"),
    )
    notes = notes_of(tmp_path, rows)
    assert "'time' has numbers ('1600000001') and texts ('2020-09-13')" in notes
    assert "write all as seconds since 1970 or all as ISO dates" in notes
