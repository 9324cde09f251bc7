"""RecBole's atomic files on small folders, and every bad header and row."""

import pytest

from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.sources import load
from twotower_jax.data.split import split
from twotower_jax.errors import InputError

INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "1\t1193\t5\t978300760\n"
    "1\t661\t3\t978302109\n"
    "7\t1193\t4\t978300000.0\n"
)
USER = "user_id:token\tage:float\tgender:token\n7\t25\tF\n1\t35\t\n9\t1\tM\n"
ITEM = (
    "item_id:token\tmovie_title:token_seq\tyear:token\tvector:float_seq\n"
    '661\tJames "and the\t1996\t0.1 0.2\n'
    "1193\tOne Flew Over One\t1975\t\n"
)


def config(path, columns=None, **keys):
    columns = ColumnsConfig(
        **({"user": "user_id", "item": "item_id"} | (columns or {}))
    )
    keys = {"split": "ratio"} | keys
    return DataConfig(source="recbole", path=str(path), columns=columns, **keys)


def folder(path, name="ml-1m", columns=None, **files):
    """Write NAME.inter from inter=..., NAME.train.inter from train_inter=..."""
    path = path / name
    path.mkdir(exist_ok=True)
    for end, text in files.items():
        (path / f"{name}.{end.replace('_', '.')}").write_text(text)
    return path


def test_interactions_with_times_and_ratings(tmp_path):
    path = folder(tmp_path, inter=INTER, kg="head_id:token\nnot read\n")
    log = load(config(path))
    assert log.user_ids.to_list() == [1, 7] and log.item_ids.to_list() == [1193, 661]
    assert log.user.tolist() == [0, 0, 1] and log.item.tolist() == [0, 1, 0]
    assert log.time.tolist() == [978300760, 978302109, 978300000]
    assert log.stage.tolist() == [5, 5, 5] and log.part is None
    assert load(config(path, min_rating=4)).stage.tolist() == [5, 4, 5]


def test_columns_of_other_names(tmp_path):
    text = "u:token\tv:token\tlabel:float\tsession:token\nx\ta\t1.0\ts\nx\tb\t0\ts\n"
    path = folder(tmp_path, inter=text)
    names = {"user": "u", "item": "v", "clicked": "label", "request": "session"}
    log = load(config(path, names))
    assert log.user_ids.to_list() == ["x"] and log.stage.tolist() == [5, 4]
    assert log.time is None and log.request.tolist() == [0, 0]


def test_features_by_type(tmp_path):
    log = load(config(folder(tmp_path, inter=INTER, user=USER, item=ITEM)))
    age, gender = log.user_features["age"], log.user_features["gender"]
    assert age.kind == "numeric" and age.values.tolist() == [1.0, -1.0]
    assert gender.kind == "categorical" and gender.values.tolist() == [-1, 0]
    title = log.item_features["movie_title"]
    assert title.kind == "multi"
    # a word counts once, and a quote is a character like any other
    assert title.values.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert log.item_features["year"].values.tolist() == [0, 1]
    assert set(log.item_features) == {"movie_title", "year"}
    assert log.dropped == {"columns of ml-1m.item with vectors (float_seq)": 1}


HEAD = "user_id:token\titem_id:token\n"


@pytest.mark.parametrize(
    "ends", [("train", "valid", "test"), ("part1", "part2", "part3")]
)
def test_files_that_come_split(tmp_path, ends):
    pairs = ("1\t10\n2\ta\n1\t11\n", "1\t12\n", "2\t11\n")
    files = {f"{e}_inter": HEAD + p for e, p in zip(ends, pairs, strict=True)}
    path = folder(tmp_path, inter=HEAD + "1\t10\n2\t11\n", **files)
    given = config(path, split="given")
    log = load(given)
    assert log.part.tolist() == [0, 0, 0, 1, 2]
    # an id that is text in one file is text in all
    assert log.item_ids.to_list() == ["10", "a", "11", "12"]
    parts = split(log, given)
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (3, 1, 1)
    assert len(load(config(path)).user) == 2


def test_the_folder_names_the_data_set(tmp_path):
    path = folder(tmp_path, inter=INTER)
    (path / "other.inter").write_text(HEAD + "1\t1\n")
    assert len(load(config(path)).user) == 3
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match="NAME.inter or .* and holds several: ml-1m, o"
    ):
        load(config(tmp_path / "elsewhere"))


BAD = {
    "no type": (
        "user_id\titem_id:token\n1\t1\n",
        "has 'user_id' instead of 'name:type'",
    ),
    "type": (
        HEAD.replace("id:token\n", "id:tokens\n") + "1\t1\n",
        "'item_id:tokens' instead",
    ),
    "no name": (":token\titem_id:token\n1\t1\n", "has ':token' instead of 'name:type'"),
    "twice": ("a:token\ta:float\n1\t1\n", "the header names 'a' twice"),
    "twice alike": ("a:token\ta:token\n1\t1\n", "its header names 'a:token' twice"),
    "fields": (
        HEAD + "1\t1\n1\t2\t3\n",
        "row 2 has 3 fields separated by .* instead of 2",
    ),
    "cut": (HEAD + "1\t1\n1", "ml-1m.inter: row 2 has 1 fields"),
    "empty": ("", "ml-1m.inter: is empty"),
    "no rows": (HEAD, "has a header and no rows"),
    "user": (
        HEAD.replace("user_id", "uid") + "1\t1\n",
        r"no column 'user_id' \(data.c",
    ),
    "no id": (
        HEAD + "1\t1\n\t1\n",
        "row 2, column 'user_id': an empty value is not al",
    ),
    "time": (
        INTER.replace("978302109", "noon"),
        "row 2, column 'timestamp': 'noon' is",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_interactions_are_named(tmp_path, name):
    text, message = BAD[name]
    with pytest.raises(InputError, match=message):
        load(config(folder(tmp_path, inter=text)))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"user": "uid:token\n1\n"}, r"ml-1m.user: has no column 'user_id' \(data.col"),
        (
            {"user": USER + "1\t3\tF\n"},
            "ml-1m.user: row 4, column 'user': 1 occurs twice",
        ),
        (
            {"user": USER.replace("25", "old")},
            "row 1, column 'age': 'old' is not a num",
        ),
        (
            {"item": "item_id:token\tx:int\n1\t1\n"},
            "ml-1m.item: the header has 'x:int'",
        ),
        ({"item": ITEM.replace("1193", "5").replace("661", "6")}, "none of its ids"),
    ],
)
def test_bad_features_are_named(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        load(config(folder(tmp_path, inter=INTER, **files)))


def test_bad_folders_are_named(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(
        InputError, match="data set, NAME.inter .* and holds none; give"
    ):
        load(config(tmp_path / "none"))
    path = folder(tmp_path, name="a", test_inter=HEAD + "1\t1\n")
    with pytest.raises(InputError, match="holds a's parts without a.train.inter"):
        load(config(path))
    path = folder(tmp_path, name="b", train_inter=HEAD, part1_inter=HEAD)
    with pytest.raises(InputError, match="'b.train.inter' and 'b.part1.inter', the sa"):
        load(config(path))


def test_a_minimum_rating_needs_ratings(tmp_path):
    path = folder(tmp_path, inter=HEAD + "1\t1\n")
    with pytest.raises(InputError, match="data.min_rating=3 needs a column of ratings"):
        load(config(path, min_rating=3))
