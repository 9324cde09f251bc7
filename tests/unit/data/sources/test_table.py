"""Source table: logs in csv, tsv, parquet and feather."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from helpers.csv_tables import CSV, table, write

from twotower_jax.data.log import Stage
from twotower_jax.data.sources import load
from twotower_jax.data.split import split


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
