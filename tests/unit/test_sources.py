"""Sources table, movielens and lightgcn on small files, and every bad input."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from realdata import data_folder

from twotower_jax.data.log import Stage
from twotower_jax.data.sources import SOURCES, load
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


# ------------------------------------------------------------------------- registry


def test_registry_names_every_source_with_one_line():
    assert set(SOURCES) == {
        "simulator",
        "table",
        "movielens",
        "lightgcn",
        "wikispeedia",
    }
    assert all(s.description and "\n" not in s.description for s in SOURCES.values())


def test_unknown_source_is_refused():
    with pytest.raises(
        InputError, match=r"data.source='movie' is unknown; choose one of"
    ):
        load(DataConfig(source="movie"))


def test_keys_that_a_source_would_ignore_are_refused():
    config = DataConfig(source="simulator", items_path="items.csv")
    with pytest.raises(
        InputError, match=r"data.items_path='items.csv' is used by data.so"
    ):
        load(config)


def test_load_filters(tmp_path):
    path = write(tmp_path, "a.csv", "user,item\n1,1\n1,2\n2,1\n3,1\n3,2\n")
    log = load(table(path, min_user_positives=2))
    assert log.user_ids.to_list() == [1, 3]
    assert log.dropped["rows of users with fewer than 2 positives"] == 1


# ---------------------------------------------------------------------------- table


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


# ------------------------------------------------------------------------ movielens

RATINGS = "userId,movieId,rating,timestamp\n1,10,4.0,100\n1,30,3.5,101\n2,10,5.0,90\n"
MOVIES = (
    "movieId,title,genres\n"
    '10,"Heat, The (1995)",Action|Crime\n'
    "20,Unrated (2000),Drama\n"
    "30,No year,(no genres listed)\n"
)


def movielens(folder, **keys):
    return DataConfig(source="movielens", path=str(folder), **keys)


def test_movielens_csv(tmp_path):
    write(tmp_path, "ratings.csv", RATINGS)
    write(tmp_path, "movies.csv", MOVIES)
    log = load(movielens(tmp_path, min_rating=4.0))
    assert log.user_ids.to_list() == [1, 2]
    assert log.item_ids.to_list() == [10, 30]
    assert log.stage.tolist() == [5, 4, 5]
    assert log.time.tolist() == [100, 101, 90]
    genres = log.item_features["genres"]
    assert (genres.values.tolist(), genres.size) == ([[0, 1], [-1, -1]], 2)
    assert log.item_features["year"].values.tolist() == [0.0, 0.0]
    assert load(movielens(tmp_path)).stage.tolist() == [5, 5, 5]


def test_movielens_1m(tmp_path):
    write(tmp_path, "ratings.dat", "1::10::5::978300760\n2::20::3::978302109\n")
    movies = "10::Amélie (2001)::Comedy|Romance\n20::Heat (1995)::Comedy\n"
    (tmp_path / "movies.dat").write_bytes(movies.encode("latin-1"))
    log = load(movielens(tmp_path, min_rating=4.0))
    assert log.stage.tolist() == [5, 4]
    assert log.item_features["genres"].values.tolist() == [[0, 1], [0, -1]]
    assert log.item_features["year"].values.tolist() == [1.0, -1.0]


def test_movielens_100k(tmp_path):
    write(tmp_path, "u.data", "1\t10\t5\t881250949\n2\t20\t3\t891717742\n")
    flags = {"10": [1, 5], "20": [5]}  # Action and Comedy; Comedy
    lines = []
    for movie, on in flags.items():
        marks = "|".join("1" if i in on else "0" for i in range(19))
        lines.append(f"{movie}|Film {movie} (1995)|01-Jan-1995||url|{marks}\n")
    write(tmp_path, "u.item", "".join(lines))
    log = load(movielens(tmp_path))
    genres = log.item_features["genres"]
    assert (genres.values.tolist(), genres.size) == ([[0, 1], [1, -1]], 2)
    assert log.time.tolist() == [881250949, 891717742]


BAD_MOVIELENS = {
    "nothing": ({}, "holds none of ratings.csv, ratings.dat, u.data; give the folder"),
    "no movies": (
        {"ratings.csv": RATINGS},
        "holds no file 'movies.csv'; give the folder",
    ),
    "no movies 1m": ({"ratings.dat": "1::1::5::9\n"}, "holds no file 'movies.dat'"),
    "no items 100k": ({"u.data": "1\t1\t5\t9\n"}, "holds no file 'u.item'"),
    "header": (
        {"ratings.csv": "userId,movieId,rating\n1,1,4\n", "movies.csv": MOVIES},
        "ratings.csv: has no column 'timestamp'",
    ),
    "rating": (
        {"ratings.csv": RATINGS.replace("3.5", "good"), "movies.csv": MOVIES},
        "ratings.csv: row 2, column 'rating': 'good' is not a number",
    ),
    "time": (
        {"ratings.csv": RATINGS.replace(",90", ",noon"), "movies.csv": MOVIES},
        "ratings.csv: row 3, column 'timestamp': 'noon' is not a time",
    ),
    "fields": (
        {"ratings.dat": "1::1::5::9\n1::1::5\n", "movies.dat": "1::A::B\n"},
        "ratings.dat: row 2 has 3 fields separated by '::' where 4 belong",
    ),
}


@pytest.mark.parametrize("name", BAD_MOVIELENS)
def test_bad_movielens_folders_are_named(tmp_path, name):
    files, message = BAD_MOVIELENS[name]
    for file, text in files.items():
        write(tmp_path, file, text)
    with pytest.raises(InputError, match=message):
        load(movielens(tmp_path))


@pytest.mark.parametrize("source", ["movielens", "lightgcn", "wikispeedia"])
def test_bad_folders_are_named(tmp_path, source):
    file = write(tmp_path, "a.csv", CSV)
    for path, message in (
        (None, "data.path is not set; give the folder with "),
        (str(tmp_path / "gone"), "data.path='.*gone' does not exist; give the folder"),
        (file, "data.path='.*a.csv' is a file; give the folder with "),
    ):
        with pytest.raises(InputError, match=message):
            load(DataConfig(source=source, path=path))


# ------------------------------------------------------------------------- lightgcn


def lightgcn(folder, **keys):
    return DataConfig(source="lightgcn", path=str(folder), split="given", **keys)


def test_lightgcn_lines_become_parts(tmp_path):
    write(tmp_path, "train.txt", "0 5 6\n1 6\n2\n\n3 \n")
    write(tmp_path, "valid.txt", "0 7\n1\n")
    write(tmp_path, "test.txt", "0 8\r\n2 5 9\r\n")
    log = load(lightgcn(tmp_path))
    assert log.user_ids.to_list() == [0, 1, 2]
    assert log.item_ids.to_list() == [5, 6, 7, 8, 9]
    assert log.user.tolist() == [0, 0, 1, 0, 0, 2, 2]
    assert log.item.tolist() == [0, 1, 1, 2, 3, 0, 4]
    assert log.part.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert clicks(log) == [True] * 7
    out = split(log, lightgcn(tmp_path, fit_valid=True))
    assert (len(out.train), len(out.valid), len(out.test)) == (4, 0, 3)


def test_lightgcn_without_a_valid_file(tmp_path):
    write(tmp_path, "train.txt", "0 5 6\n1 6\n")
    write(tmp_path, "test.txt", "0 8\n")
    log = load(lightgcn(tmp_path))
    assert log.part.tolist() == [0, 0, 0, 2]
    assert len(split(log, lightgcn(tmp_path)).valid) == 0


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("0 1\n", None, "holds no file 'test.txt'; give the folder with train.txt"),
        (None, "0 1\n", "holds no file 'train.txt'"),
        ("0 1\n1 x 2\n", "0 1\n", "train.txt: line 2: 'x' is no integer; give 'user"),
        ("0 1\n", "\n0 1.5\n", "test.txt: line 2: '1.5' is no integer"),
        ("0,1,2\n", "0 1\n", "train.txt: line 1: '0,1,2' is no integer"),
        ("", "0 1\n", "train.txt: is empty"),
        ("0\n1\n", "2\n", "has no rows"),
    ],
)
def test_bad_lightgcn_files_are_named(tmp_path, train, test, message):
    for name, text in (("train.txt", train), ("test.txt", test)):
        if text is not None:
            write(tmp_path, name, text)
    with pytest.raises(InputError, match=message):
        load(lightgcn(tmp_path))


def test_text_files_that_are_no_utf8_are_refused(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"0 \xff\n")
    write(tmp_path, "test.txt", "0 1\n")
    with pytest.raises(InputError, match=r"train.txt: is not utf-8 text"):
        load(lightgcn(tmp_path))


# ------------------------------------------------------------------------ real data


@pytest.mark.realdata
def test_real_movielens():
    log = load(movielens(data_folder("ml-latest-small"), min_rating=4.0))
    assert (log.num_users, log.num_items, len(log.user)) == (610, 9_724, 100_836)
    assert sum(clicks(log)) == 48_580
    # 18 named genres and IMAX
    assert log.item_features["genres"].size == 19
    year = log.item_features["year"].values
    assert abs(float(year.mean())) < 1e-4 and (year == 0).sum() < 200


@pytest.mark.realdata
def test_real_gowalla():
    config = lightgcn(data_folder("gowalla"))
    log = load(config)
    assert (log.num_users, log.num_items, len(log.user)) == (29_858, 40_981, 1_027_370)
    out = split(log, config)
    assert len(out.train) + len(out.valid) == 810_128
    assert len(out.test) == 217_242
    assert out.report["users of test unseen in train"] == 0
    assert np.bincount(out.test.user).min() >= 1
