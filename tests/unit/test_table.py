"""Source table: logs in csv, tsv, parquet and feather, and every bad input."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from twotower_jax.data.log import Stage
from twotower_jax.data.sources import load
from twotower_jax.data.sources.files import read_table
from twotower_jax.data.split import split
from twotower_jax.errors import InputError
from twotower_jax.schema.data import ColumnsConfig, DataConfig

CSV = "user,item,time,clicked,age\nu1,7,10,1,20\nu2,8,11,0,40\nu1,8,12,1,20\n"


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return str(path)


def table(path, columns=None, **keys):
    return DataConfig(
        source="table", path=path, columns=ColumnsConfig(**(columns or {})), **keys
    )


def clicks(log):
    return (log.stage == Stage.CLICKED).tolist()


def test_load_filters(tmp_path):
    path = write(tmp_path, "a.csv", "user,item\n1,1\n1,2\n2,1\n3,1\n3,2\n")
    log = load(table(path, min_user_positives=2))
    assert log.user_ids.to_list() == [1, 3]
    assert log.dropped["rows of users with fewer than 2 positives"] == 1


def test_csv_without_a_column_of_clicks_is_all_positives(tmp_path):
    log = load(table(write(tmp_path, "a.csv", CSV)))
    assert log.user_ids.to_list() == ["u1", "u2"]
    assert log.item_ids.to_list() == [7, 8]
    assert log.user.tolist() == [0, 1, 0]
    assert clicks(log) == [True, True, True]
    assert log.time is None and log.part is None


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "feather", "arrow", "CSV"])
def test_every_format_gives_the_same_log(tmp_path, ending):
    frame = pl.DataFrame(
        {"user": ["u1", "u2", "u1"], "item": [7, 8, 8], "time": [10, 11, 12]}
    )
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        frame.write_parquet(path)
    elif ending in ("feather", "arrow"):
        frame.write_ipc(path, compression="lz4")
    else:
        frame.write_csv(path, separator="\t" if ending == "tsv" else ",")
    log = load(table(str(path), {"time": "time"}))
    assert log.user_ids.to_list() == ["u1", "u2"]
    assert log.item_ids.to_list() == [7, 8]
    assert log.time.tolist() == [10, 11, 12]


def test_integers_with_leading_zeros_stay_text(tmp_path):
    log = load(table(write(tmp_path, "a.csv", "user,item\n007,1\n7,2\n")))
    assert log.user_ids.to_list() == ["007", "7"]


@pytest.mark.parametrize(
    "values", [("1", "0"), ("true", "False"), ("1.0", "0.0"), (" 1", "0 ")]
)
def test_clicked(tmp_path, values):
    path = write(tmp_path, "a.csv", "user,item,c\n1,1,{}\n2,2,{}\n".format(*values))
    assert load(table(path, {"clicked": "c"})).stage.tolist() == [5, 4]


def test_clicked_as_bool_in_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"user": [1, 2], "item": [1, 2], "c": [False, True]}).write_parquet(
        path
    )
    assert load(table(str(path), {"clicked": "c"})).stage.tolist() == [4, 5]


def test_rating_with_and_without_a_minimum(tmp_path):
    path = write(tmp_path, "a.csv", "user,item,r\n1,1,4.5\n2,2,3.5\n3,3,4\n")
    columns = {"rating": "r"}
    assert load(table(path, columns, min_rating=4)).stage.tolist() == [5, 4, 5]
    assert load(table(path, columns)).stage.tolist() == [5, 5, 5]


def test_stage_and_request(tmp_path):
    path = write(
        tmp_path,
        "a.csv",
        "user,item,s,r\n1,1,ranked,q1\n1,2,clicked,q1\n2,2,exposed,q0\n",
    )
    log = load(table(path, {"stage": "s", "request": "r"}))
    assert log.stage.tolist() == [2, 5, 4]
    assert log.request.tolist() == [0, 0, 1]


def test_rank_and_request(tmp_path):
    text = "user,item,s,r,place\n1,1,ranked,q1,3\n1,2,clicked,q1,\n2,2,exposed,q0,0\n"
    path = write(tmp_path, "a.csv", text)
    log = load(table(path, {"stage": "s", "request": "r", "rank": "place"}))
    assert log.rank.tolist() == [3, -1, 0] and log.rank.dtype == np.int32
    assert log.request.tolist() == [0, 0, 1] and log.request.dtype == np.int64
    log = load(table(path, {"stage": "s"}))
    assert log.rank is None and log.request is None


def test_ranks_and_requests_of_several_files_are_stacked(tmp_path):
    columns = {"request": "r", "rank": "place"}
    config = table(
        write(tmp_path, "a.csv", "user,item,r,place\n1,1,8,0\n1,2,8,1\n2,1,9,0\n"),
        columns,
        test_path=write(tmp_path, "b.csv", "user,item,r,place\n1,3,x,\n"),
        split="given",
    )
    log = load(config)
    assert log.rank.tolist() == [0, 1, 0, -1]
    # One file has text as requests, so all have; they are coded as they appear.
    assert log.request.tolist() == [0, 0, 1, 2]
    out = split(log, config)
    assert out.train.request.tolist() == [0, 0, 1]
    assert out.test.request.tolist() == [2] and len(out.valid.request) == 0


def test_ranks_and_requests_follow_the_rows_that_a_filter_keeps(tmp_path):
    text = "user,item,r,place\n1,1,5,0\n2,1,6,1\n2,2,6,2\n3,1,7,3\n3,3,7,4\n"
    columns = {"request": "r", "rank": "place"}
    path = write(tmp_path, "a.csv", text)
    log = load(table(path, columns, min_user_positives=2))
    assert log.request.tolist() == [6, 6, 7, 7]
    assert log.rank.tolist() == [1, 2, 3, 4]


def test_times_of_every_kind(tmp_path):
    path = write(
        tmp_path, "a.csv", "user,item,t\n1,1,1970-01-02\n2,2,1970-01-01 01:00:00\n"
    )
    assert load(table(path, {"time": "t"})).time.tolist() == [86400.0, 3600.0]
    path = tmp_path / "a.parquet"
    moments = [datetime(1970, 1, 2), datetime(1970, 1, 1, 1)]
    pl.DataFrame({"user": [1, 2], "item": [1, 2], "t": moments}).write_parquet(path)
    assert load(table(str(path), {"time": "t"})).time.tolist() == [86400.0, 3600.0]


def test_features_from_the_log_itself_take_the_first_value(tmp_path):
    text = "user,item,age,tag\na,1,20,x|y\nb,2,40,y\na,2,99,z\n"
    config = table(
        write(tmp_path, "a.csv", text),
        query_features={"age": "numeric"},
        candidate_features={"tag": "multi"},
    )
    log = load(config)
    # ages 20 and 40: mean 30, deviation 10
    assert log.user_features["age"].values.tolist() == [-1.0, 1.0]
    # item 1 has x|y, item 2 first has y
    assert log.item_features["tag"].values.tolist() == [[0, 1], [1, -1]]


def test_features_from_side_tables(tmp_path):
    users = write(tmp_path, "users.tsv", "user\tcity\nb\tRome\na\tOslo\nx\tBonn\n")
    items = tmp_path / "items.parquet"
    pl.DataFrame({"item": [2, 1], "price": [3.0, 1.0]}).write_parquet(items)
    config = table(
        write(tmp_path, "a.csv", "user,item\na,1\nb,2\nc,1\n"),
        users_path=users,
        items_path=str(items),
        query_features={"city": "categorical"},
        candidate_features={"price": "numeric"},
    )
    log = load(config)
    assert log.user_features["city"].values.tolist() == [0, 1, -1]
    assert log.user_features["city"].size == 2
    assert log.item_features["price"].values.tolist() == [-1.0, 1.0]


def test_valid_and_test_files_are_parts_one_and_two(tmp_path):
    config = table(
        write(tmp_path, "train.csv", "user,item\n1,1\n2,2\n"),
        valid_path=write(tmp_path, "valid.csv", "user,item\n1,2\n"),
        test_path=write(tmp_path, "test.csv", "user,item\nnew,1\n"),
        split="given",
    )
    log = load(config)
    assert log.part.tolist() == [0, 0, 1, 2]
    # One file has text as ids, so all have.
    assert log.user_ids.to_list() == ["1", "2", "new"]
    out = split(log, config)
    assert (len(out.train), len(out.valid), len(out.test)) == (2, 1, 1)


def test_brackets_in_a_path_are_no_pattern(tmp_path):
    path = write(tmp_path, "a[1].csv", CSV)
    assert len(load(table(path)).user) == 3


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
        "row 1, column 's': 'seen' is no stage; choose one of: retrieved",
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
        "row 2, column 't': 'yesterday' is not a time; give seconds since 1970 or an",
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
        r"a.csv: row 2, column 'p': '1.5' is no rank; give a whole number from 0",
    ),
    "rank beyond": (
        "user,item,p\n1,1,0\n1,2,3000000000\n2,1,1\n",
        {"rank": "p"},
        {},
        r"a.csv: row 2, column 'p': '3000000000' is no rank",
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
        "user,item,r\n1,1,5\n2,2,\n",
        {"request": "r"},
        {},
        "a.csv: row 2, column 'r': an empty value is not allowed; give every row an id",
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
        "data.columns names clicked=c and rating=r, and only one of them can say",
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
        (str(tmp_path), "data.path='.*' is a folder; give the path of a file"),
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
    with pytest.raises(InputError, match=f"a.{ending}: is no {ending} file: "):
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


def test_bytes_that_are_no_utf8_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"user,item\n\xff\xfe,1\n")
    with pytest.raises(InputError, match=r"a.csv: cannot be read: .*UTF-8"):
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
        ("user,age\nu1,5\nu1,6\n", "u.csv: row 2, column 'user': 'u1' is there twice"),
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
    with pytest.raises(InputError, match=r"do not fit: .*the same type in all"):
        load(config)
