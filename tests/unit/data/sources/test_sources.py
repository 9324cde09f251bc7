"""Sources by name; movielens and lightgcn on small files, and every bad input."""

import numpy as np
import pytest
from helpers.realdata import data_folder

from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import Stage
from twotower_jax.data.sources import SOURCES, load
from twotower_jax.data.split import split
from twotower_jax.errors import InputError


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return str(path)


def clicks(log):
    return (log.stage == Stage.CLICKED).tolist()


# ------------------------------------------------------------------------- registry


def test_registry_names_every_source_with_one_line():
    assert set(SOURCES) == {
        "simulator",
        "table",
        "prepared",
        "movielens",
        "lightgcn",
        "mind",
        "recbole",
        "recflow",
        "kuairand",
        "wikispeedia",
    }
    assert all(s.description and "\n" not in s.description for s in SOURCES.values())


def test_unknown_source_is_refused():
    with pytest.raises(
        InputError, match=r"data.source='movie' is unknown; choose one of"
    ):
        load(DataConfig(source="movie"))


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


def test_movielens_20m(tmp_path):
    """Half stars, quotes within quotes, and tables that are not read."""
    ratings = "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,4,1112484676\n"
    write(tmp_path, "ratings.csv", ratings)
    movies = 'movieId,title,genres\n2,"A ""B"", The (1995)",Action|IMAX\n29,C (1995),\n'
    write(tmp_path, "movies.csv", movies)
    write(tmp_path, "links.csv", "no table")
    log = load(movielens(tmp_path, min_rating=4.0))
    assert log.stage.tolist() == [4, 5]
    assert log.item_features["genres"].values.tolist() == [[0, 1], [-1, -1]]
    assert log.user_features == {}


USERS_1M = "1::F::1::10::48067\n2::M::56::16::70072\n"


def movielens_1m(folder, users=USERS_1M):
    write(folder, "ratings.dat", "1::10::5::978300760\n2::20::3::978302109\n")
    # 0x85 is a line's end to str.splitlines, and a letter of these files
    movies = "10::Amélie \x85 (2001)::Comedy|Romance\n20::Heat (1995)::Comedy\n"
    (folder / "movies.dat").write_bytes(movies.encode("latin-1"))
    if users is not None:
        write(folder, "users.dat", users)
    return movielens(folder, min_rating=4.0)


def test_movielens_1m(tmp_path):
    log = load(movielens_1m(tmp_path))
    assert log.stage.tolist() == [5, 4]
    assert log.time.tolist() == [978300760, 978302109]
    assert log.item_features["genres"].values.tolist() == [[0, 1], [0, -1]]
    assert log.item_features["year"].values.tolist() == [1.0, -1.0]
    users = log.user_features
    assert set(users) == {"gender", "age", "occupation"}
    for feature in users.values():
        assert feature.kind == "categorical" and feature.values.tolist() == [0, 1]


def test_movielens_10m_has_no_users(tmp_path):
    config = movielens_1m(tmp_path, users=None)
    write(tmp_path, "ratings.dat", "1::10::4.5::838985046\n2::20::0.5::838983525\n")
    log = load(config)
    assert log.stage.tolist() == [5, 4] and log.user_features == {}


def item_100k(movie, on, title="Film (1995)"):
    """Return a line of u.item: five fields, then a flag for each of 19 genres."""
    marks = "|".join("1" if i in on else "0" for i in range(19))
    return f"{movie}|{title}|01-Jan-1995||http://us.imdb.com/M/x|{marks}\n"


USERS_100K = "1|24|M|technician|85711\n2|53|F|other|94043\n"


def test_movielens_100k(tmp_path):
    write(tmp_path, "u.data", "1\t10\t5\t881250949\n2\t20\t3\t891717742\n")
    # Action, Children's and Comedy; Comedy; the unknown film 267 of the data set
    lines = item_100k(10, [1, 4, 5], "Fil\xe9 (1995)") + item_100k(20, [5])
    lines += "267|unknown||||1|" + "|".join("0" * 18) + "\n"
    (tmp_path / "u.item").write_bytes(lines.encode("latin-1"))
    write(tmp_path, "u.user", USERS_100K)
    log = load(movielens(tmp_path))
    genres = log.item_features["genres"]
    assert (genres.values.tolist(), genres.size) == ([[0, 1, 2], [2, -1, -1]], 3)
    assert log.time.tolist() == [881250949, 891717742]
    age = log.user_features["age"]
    assert age.kind == "numeric" and age.values.tolist() == [-1.0, 1.0]
    for name in ("gender", "occupation"):
        feature = log.user_features[name]
        assert feature.kind == "categorical" and feature.values.tolist() == [0, 1]


U_DATA = "1\t1\t5\t9\n"
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
    "header without rating": (
        {"ratings.csv": "userId,movieId,timestamp\n1,1,4\n", "movies.csv": MOVIES},
        "ratings.csv: has no column 'rating'",
    ),
    "cut": (
        {"ratings.csv": RATINGS[:-2], "movies.csv": MOVIES},
        "ratings.csv: its last line has no end, as if the file were cut off",
    ),
    "movies cut": (
        {"ratings.csv": RATINGS, "movies.csv": MOVIES[:-3]},
        "movies.csv: its last line has no end",
    ),
    "cut 1m": (
        {"ratings.dat": "1::1::5::978\n2::1::5::97", "movies.dat": "1::A::B\n"},
        "ratings.dat: its last line has no end",
    ),
    "cut 100k": (
        {"u.data": U_DATA + "2\t1\t5\t9", "u.item": item_100k(1, [1])},
        "u.data: its last line has no end",
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
        "ratings.dat: row 2 has 3 fields separated by '::' instead of 4",
    ),
    "users 1m": (
        {
            "ratings.dat": "1::1::5::9\n",
            "movies.dat": "1::A::B\n",
            "users.dat": "1::F::1::10\n",
        },
        "users.dat: row 1 has 4 fields separated by '::' instead of 5",
    ),
    "movies 1m": (
        {"ratings.dat": "1::1::5::9\n", "movies.dat": "1::A\n"},
        "movies.dat: row 1 has 2 fields",
    ),
    "data 100k": (
        {"u.data": "1\t1\t5\t9\n1 2 5 9\n", "u.item": item_100k(1, [1])},
        "u.data: row 2 has 1 fields separated by '.t' instead of 4",
    ),
    "item 100k": (
        {"u.data": U_DATA, "u.item": item_100k(1, [1])[:-3] + "\n"},
        "u.item: row 1 has 23 fields",
    ),
    "flag 100k": (
        {"u.data": U_DATA, "u.item": item_100k(1, [1])[:-2] + "x\n"},
        "u.item: row 1, column 'Western': 'x' is not a flag; give 0 or 1",
    ),
    "user 100k": (
        {"u.data": U_DATA, "u.item": item_100k(1, []), "u.user": "1|x|M|a|b\n"},
        "u.user: row 1, column 'age': 'x' is not a number",
    ),
}


@pytest.mark.parametrize("name", BAD_MOVIELENS)
def test_bad_movielens_folders_are_named(tmp_path, name):
    files, message = BAD_MOVIELENS[name]
    for file, text in files.items():
        write(tmp_path, file, text)
    with pytest.raises(InputError, match=message):
        load(movielens(tmp_path))


@pytest.mark.parametrize(
    "source", ["movielens", "lightgcn", "mind", "recbole", "wikispeedia"]
)
def test_bad_folders_are_named(tmp_path, source):
    file = write(tmp_path, "a.csv", "user,item\n1,1\n")
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
        (
            "0 1\n1 x 2\n",
            "0 1\n",
            "train.txt: line 2: 'x' is not an integer; give 'user",
        ),
        ("0 1\n", "\n0 1.5\n", "test.txt: line 2: '1.5' is not an integer"),
        ("0,1,2\n", "0 1\n", "train.txt: line 1: '0,1,2' is not an integer"),
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
