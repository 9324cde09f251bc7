"""Source table: errors name every bad input."""

from datetime import timedelta
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest
from helpers.csv_tables import CSV, table, write
from pyarrow import feather, parquet

from twotower_jax.data.guess.roles import guess_roles
from twotower_jax.data.sources import load
from twotower_jax.data.sources.files import read_table
from twotower_jax.errors import InputError

BAD_TABLES = {
    "usr": (
        "user,item\n1,1\n",
        {"user": "usr"},
        {},
        r"a.csv: has no column 'usr' \(data.columns.user=usr\); its columns are: user, "
        "item; did you mean 'user'",
    ),
    "no close column": (
        "user,item\n1,1\n",
        {"time": "when"},
        {},
        "no column 'when' .* are: user, item; set data.columns.time to one of them",
    ),
    "clicked two": (
        "user,item,c\n1,1,1\n2,2,2\n",
        {"clicked": "c"},
        {},
        "a.csv: row 2, column 'c': '2' is neither 0 nor 1; give 1 for a click",
    ),
    "clicked text": (
        "user,item,c\n1,1,yes\n",
        {"clicked": "c"},
        {},
        "row 1, column 'c': 'yes' is neither",
    ),
    "clicked empty": (
        "user,item,c\n1,1,0\n1,2,\n",
        {"clicked": "c"},
        {},
        "row 2, column 'c': an empty value is neither",
    ),
    "rating text": (
        "user,item,r\n1,1,4\n2,2,good\n",
        {"rating": "r"},
        {"min_rating": 4.0},
        "row 2, column 'r': 'good' is not a number; give a number",
    ),
    "rating empty": (
        "user,item,r\n1,1,\n",
        {"rating": "r"},
        {},
        "row 1, column 'r': an empty value is not allowed; give a number",
    ),
    "stage": (
        "user,item,s\n1,1,seen\n",
        {"stage": "s"},
        {},
        "row 1, column 's': 'seen' is not a stage; choose one of: retrieved",
    ),
    "user empty": (
        "user,item\n1,1\n,2\n",
        {},
        {},
        "row 2, column 'user': an empty value is not allowed; give every row an id",
    ),
    "item missing in a short row": (
        "user,item\n1,1\n2\n",
        {},
        {},
        "row 2, column 'item': an empty value",
    ),
    "time": (
        "user,item,t\n1,1,2020-01-01\n1,2,yesterday\n",
        {"time": "t"},
        {},
        "row 2, column 't': 'yesterday' is not a time; give seconds since 1970, or",
    ),
    "time nan": (
        "user,item,t\n1,1,5\n1,2,nan\n",
        {"time": "t"},
        {},
        "row 2, column 't': .* is not allowed",
    ),
    "rank fraction": (
        "user,item,p\n1,1,0\n1,2,1.5\n2,1,1\n",
        {"rank": "p"},
        {},
        r"a.csv: row 2, column 'p': '1.5' is not a rank; give a whole number from 0",
    ),
    "rank beyond": (
        "user,item,p\n1,1,0\n1,2,3000000000\n2,1,1\n",
        {"rank": "p"},
        {},
        r"a.csv: row 2, column 'p': '3000000000' is not a rank",
    ),
    "rank text": (
        "user,item,p\n1,1,0\n2,2,first\n",
        {"rank": "p"},
        {},
        "a.csv: row 2, column 'p': 'first' is not a number; give a number",
    ),
    "no rank column": (
        "user,item\n1,1\n",
        {"rank": "rnk"},
        {},
        r"a.csv: has no column 'rnk' \(data.columns.rank=rnk\)",
    ),
    "no request column": (
        "user,item\n1,1\n",
        {"request": "session"},
        {},
        r"a.csv: has no column 'session' \(data.columns.request=session\)",
    ),
    "request empty": (
        "user,item,r\n1,1,\n2,2,\n",
        {"request": "r"},
        {},
        "a.csv: column 'request' is empty in every row; leave data.columns.request out",
    ),
    "numeric feature": (
        "user,item,age\n1,1,20\n2,2,old\n",
        {},
        {"query_features": {"age": "numeric"}},
        "a.csv: row 2, column 'age': 'old' is not a number",
    ),
    "missing feature": (
        "user,item,age\n1,1,20\n",
        {},
        {"candidate_features": {"agee": "numeric"}},
        r"no column 'agee' \(data.candidate_features.agee=agee\).* mean 'age'",
    ),
    "surplus field": (
        "user,item\n1,1\n2,2,2\n",
        {},
        {},
        "a.csv: cannot be read: row 2 has 3 fields where the header has 2",
    ),
    "empty file": ("", {}, {}, "a.csv: is empty; give a file with rows"),
    "only blanks": ("\n\n", {}, {}, "a.csv: "),
    "no rows": ("user,item\n", {}, {}, "a.csv: has a header and no rows"),
    "two meanings": (
        "user,item,c,r\n1,1,1,5\n",
        {"clicked": "c", "rating": "r"},
        {},
        "data.columns names clicked=c and rating=r, and only one of them can define",
    ),
    "min_rating alone": (
        "user,item\n1,1\n",
        {},
        {"min_rating": 4.0},
        "data.min_rating=4.0 needs a column of ratings; set data.columns.rating",
    ),
    "side table without features": (
        "user,item\n1,1\n",
        {},
        {"users_path": "users.csv"},
        "data.users_path='users.csv' is set and data.query_features names no feature",
    ),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_are_named(tmp_path, name):
    text, columns, keys, message = BAD_TABLES[name]
    config = table(write(tmp_path, "a.csv", text), columns, **keys)
    with pytest.raises(InputError, match=message):
        load(config)


def test_bad_paths_are_named(tmp_path):
    for path, message in (
        (None, "data.path is not set; give the path of a file"),
        (str(tmp_path / "no.csv"), "data.path='.*no.csv' does not exist"),
        (str(tmp_path), "data.path='.*' is a folder without a table; give the path"),
        (
            write(tmp_path, "a.xlsx", "x"),
            "that end with '.xlsx' are not supported; give",
        ),
    ):
        with pytest.raises(InputError, match=message):
            load(table(path))
    good = write(tmp_path, "a.csv", CSV)
    for key in ("valid_path", "test_path"):
        with pytest.raises(InputError, match=f"data.{key}='gone.csv' does not exist"):
            load(table(good, **{key: "gone.csv"}))


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_broken_binary_files_are_named(tmp_path, ending):
    path = write(tmp_path, f"a.{ending}", "this is text")
    with pytest.raises(InputError, match=f"a.{ending}: is not a {ending} file, or "):
        load(table(path))
    with pytest.raises(InputError, match="is empty"):
        load(table(write(tmp_path, f"b.{ending}", "")))


def test_a_damaged_byte_in_a_feather_file_is_refused_or_harmless(tmp_path):
    rows = pl.DataFrame({"user": range(100), "item": [f"i{n}" for n in range(100)]})
    path = tmp_path / "a.feather"
    rows.write_ipc(path)
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole) - 200, len(whole)):  # where the columns are described
        path.write_bytes(whole[:place] + b"\x17" + whole[place + 1 :])
        try:
            read_table(path)
        except InputError as error:
            assert "a.feather" in str(error)
            refused += 1
    assert refused > 50


TYPES = {
    "names": (pa.array(["u1", "u2"]), "user", "two columns (have one|are n)"),
    "zone": (
        pa.array([1, 2], pa.timestamp("us", tz="+05:30")),
        "time",
        r"a zone like \+05:30; write them in UTC",
    ),
    "digits": (
        pa.array([Decimal(1), Decimal(2)], pa.decimal256(60, 3)),
        "price",
        "decimals of over 38 digits; write floats",
    ),
}


@pytest.mark.parametrize("write_file", [feather.write_feather, parquet.write_table])
@pytest.mark.parametrize("name", TYPES)
def test_types_that_polars_does_not_read_are_named(name, write_file, tmp_path, capfd):
    values, column, message = TYPES[name]
    columns = [pa.array(["u1", "u2"]), pa.array(["i1", "i2"]), values]
    made = pa.Table.from_arrays(columns, names=["user", "item", column])
    ending = "feather" if write_file is feather.write_feather else "parquet"
    path = tmp_path / f"a.{ending}"
    write_file(made, path)
    with pytest.raises(InputError, match=message):
        read_table(path)
    assert capfd.readouterr() == ("", "")  # nothing of a panic


def test_durations_are_no_ids(tmp_path):
    made = pl.DataFrame({"user": [timedelta(1), timedelta(2)], "item": [1, 2]})
    path = tmp_path / "a.parquet"
    made.write_parquet(path)
    with pytest.raises(InputError, match="'user' has values of type Duration"):
        load(table(str(path)))
    with pytest.raises(InputError, match="nothing looks like a column of users"):
        guess_roles(made, {}, "a.parquet")


@pytest.mark.parametrize(
    "rows, message",
    [
        (0, r"is not UTF-8 text \(byte 11 is 0xff\); convert it: iconv -f WINDOWS"),
        (20_000, r"cannot be read: .*UTF-8"),  # far behind the first bytes
    ],
)
def test_bytes_that_are_no_utf8_are_refused(rows, message, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"user,item\n" + rows * b"u,1\n" + b"\xff\xfe,1\n")
    with pytest.raises(InputError, match=f"a.csv: {message}"):
        load(table(str(path)))


def test_the_error_names_the_file_of_the_row(tmp_path):
    config = table(
        write(tmp_path, "a.csv", CSV),
        {"time": "time"},
        test_path=write(tmp_path, "t.csv", "user,item,time\nu1,7,x\n"),
    )
    with pytest.raises(
        InputError, match=r"t.csv: row 1, column 'time': 'x' is not a time"
    ):
        load(config)


def test_bad_side_tables_are_named(tmp_path):
    def config(text):
        return table(
            write(tmp_path, "a.csv", CSV),
            users_path=write(tmp_path, "u.csv", text),
            query_features={"age": "numeric"},
        )

    for text, message in (
        ("user,age\nu1,5\nu1,6\n", "u.csv: row 2, column 'user': 'u1' occurs twice"),
        ("user,age\nu1,5\nu2,x\n", "u.csv: row 2, column 'age': 'x' is not a number"),
        ("user,agee\nu1,5\n", "u.csv: has no column 'age' .*did you mean 'agee'"),
        ("name,age\nu1,5\n", r"u.csv: has no column 'user' \(data.columns.user=user\)"),
        ("user,age\nz,5\n", "u.csv: none of its ids in column 'user'"),
        ("user,age\n,5\n", "u.csv: row 1, column 'user': an empty value"),
    ):
        with pytest.raises(InputError, match=message):
            load(config(text))


def test_columns_of_types_that_do_not_fit_are_named(tmp_path):
    for name, values in (("a", [[1], [2]]), ("b", ["x", "y"])):
        frame = pl.DataFrame({"user": [1, 2], "item": [1, 2], "f": values})
        frame.write_parquet(tmp_path / f"{name}.parquet")
    config = table(
        str(tmp_path / "a.parquet"),
        test_path=str(tmp_path / "b.parquet"),
        query_features={"f": "multi"},
    )
    with pytest.raises(InputError, match=r"do not match: .*the same type in all"):
        load(config)
