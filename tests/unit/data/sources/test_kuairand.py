"""KuaiRand: rows, parts and features, on small files of its format."""

from collections import defaultdict

import numpy as np
import pytest
from helpers.kuaishou import APRIL, LOG_COLUMNS, kuairand_log, write_csv, write_kuairand

from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.kuaishou import KuaiRandConfig
from twotower_jax.data.log import Stage
from twotower_jax.data.sources import kuairand, load
from twotower_jax.data.split import split
from twotower_jax.errors import InputError

EARLY = "log_standard_4_08_to_4_21_pure.csv"
RANDOM = "log_random_4_22_to_5_08_pure.csv"
VIDEOS = "video_features_basic_pure.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_kuairand(tmp_path_factory.mktemp("KuaiRand-Pure"))


def config(folder, splits="given", **keys):
    out = DataConfig(source="kuairand", path=str(folder), split=splits)
    out.kuairand = KuaiRandConfig(**keys)
    return out


def rows(log):
    """Return (user, video, time, clicked, part) of every row."""
    users, items = log.user_ids.to_list(), log.item_ids.to_list()
    part = [None] * len(log.user) if log.part is None else log.part.tolist()
    return [
        (
            users[log.user[i]],
            items[log.item[i]],
            log.time[i],
            log.stage[i] == 5,
            part[i],
        )
        for i in range(len(log.user))
    ]


def expected(clicked="is_click", random=True):
    """Work the rows out of the tables."""
    logs = [(kuairand_log(1, APRIL[0], 400), 0), (kuairand_log(2, APRIL[1], 200), 1)]
    if random:
        logs.append((kuairand_log(3, APRIL[1], 100), 2))
    place = LOG_COLUMNS.index(clicked)
    return [
        (row[0], row[1], row[4] / 1000, row[place] == 1, part if random else None)
        for table, part in logs
        for row in table
    ]


def test_rows_and_parts_of_the_logs(folder):
    log = load(config(folder))
    assert rows(log) == expected()
    assert set(log.stage.tolist()) == {Stage.EXPOSED, Stage.CLICKED}
    assert rows(load(config(folder / "data"))) == expected()


def test_the_random_log_is_the_test_part(folder):
    settings = config(folder)
    log = load(settings)
    out = split(log, settings)
    wanted = {row[:2] for row in expected() if row[4] == 2 and row[3]}
    users, items = log.user_ids.to_list(), log.item_ids.to_list()
    pairs = zip(out.test.user, out.test.item, strict=True)
    assert {(users[user], items[item]) for user, item in pairs} == wanted
    assert out.train.time.max() < min(out.valid.time.min(), out.test.time.min())


@pytest.mark.parametrize("splits", ["temporal", "ratio", "leave_last_out"])
def test_without_the_random_log(splits, folder):
    settings = config(folder, splits, test="standard")
    log = load(settings)
    assert rows(log) == expected(random=False) and log.part is None
    assert len(split(log, settings).test)


@pytest.mark.parametrize("clicked", ["long_view", "is_like"])
def test_the_feedback_that_makes_a_positive_is_chosen(clicked, folder):
    assert rows(load(config(folder, clicked=clicked))) == expected(clicked)


def test_the_time_that_was_watched_weighs_positives(folder):
    settings = config(folder)
    settings.columns = ColumnsConfig(weight="play_time_ms")
    log = load(settings)
    assert rows(log) == expected()
    place = LOG_COLUMNS.index("play_time_ms")
    tables = (1, APRIL[0], 400), (2, APRIL[1], 200), (3, APRIL[1], 100)
    watched = [row[place] for table in tables for row in kuairand_log(*table)]
    clicked = log.stage == Stage.CLICKED
    assert log.weight.tolist() == np.where(clicked, watched, 0).tolist()
    settings.columns = ColumnsConfig(weight="watched")
    with pytest.raises(
        InputError, match=r"'watched' \(positives.weight=watched\); its"
    ):
        load(settings)


@pytest.mark.parametrize("version", ["1k", "27k"])
def test_other_versions_say_the_same(version, folder, tmp_path):
    other = load(config(write_kuairand(tmp_path, version), statistics=["play_cnt"]))
    log = load(config(folder, statistics=["play_cnt"]))
    assert rows(other) == rows(log)
    for one, two in (
        (other.user_features, log.user_features),
        (other.item_features, log.item_features),
    ):
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name].values, two[name].values) for name in one)


def test_features_are_those_of_the_files(folder):
    log = load(config(folder, statistics=["show_cnt", "play_cnt"]))
    assert len(log.user_features) == 30 and len(log.item_features) == 11 + 2
    kinds = {name: one.kind for name, one in log.item_features.items()}
    assert kinds == kuairand.ITEM_KINDS | {"show_cnt": "numeric", "play_cnt": "numeric"}
    video, user = log.item_ids.to_numpy(), log.user_ids.to_numpy()
    tag = log.item_features["tag"]
    assert (tag.size, tag.values.shape) == (3, (60, 2))
    lengths = (tag.values >= 0).sum(1)
    assert lengths.tolist() == [(2, 1, 0)[v % 3] for v in video]
    for name, table, ids, size in (
        ("author_id", log.item_features, video, 7),
        ("music_id", log.item_features, video, 5),
        ("video_type", log.item_features, video, 2),
        ("user_active_degree", log.user_features, user, 2),
    ):
        codes = defaultdict(set)
        for one, code in zip(ids % size, table[name].values.tolist(), strict=True):
            codes[one].add(code)
        assert len(codes) == table[name].size == size, name
        assert all(len(of_value) == 1 for of_value in codes.values()), name
    for name in ("show_cnt", "play_cnt"):
        values = log.item_features[name].values
        assert np.corrcoef(values, video)[0, 1] == pytest.approx(1)
    uploaded = log.item_features["upload_dt"].values
    assert np.corrcoef(uploaded, video % 28)[0, 1] == pytest.approx(1)
    # Empty fields are missing values.
    assert log.item_features["video_duration"].values[video == 0].tolist() == [0.0]
    assert log.user_features["onehot_feat4"].values[user == 0].tolist() == [-1]


def test_logs_are_read_one_after_the_other_and_only_the_columns_needed(
    folder, monkeypatch
):
    seen = []

    def watched(path, columns):
        frame = read(path, columns)
        seen.append((path.name, frame.columns))
        return frame

    read = kuairand.read_whole_numbers
    monkeypatch.setattr(kuairand, "read_whole_numbers", watched)
    load(config(folder, clicked="is_like"))
    columns = ["user_id", "video_id", "time_ms", "is_like", "tab"]
    names = [EARLY, EARLY.replace("4_08_to_4_21", "4_22_to_5_08"), RANDOM]
    assert seen == [(name, columns) for name in names]


# ---------------------------------------------------------------- bad input


def change(folder, name, alter):
    path = folder / "data" / name
    lines = path.read_text().splitlines()
    path.write_text("\n".join(alter(lines)) + "\n")


def put(row, old, new):
    """Return a function that replaces a text in a row (from 1) of a file."""

    def alter(lines):
        assert old in lines[row]
        return [*lines[:row], lines[row].replace(old, new, 1), *lines[row + 1 :]]

    return alter


MIDDLE = "1649347202500"
FILES = {
    "missing column": (EARLY, put(0, "time_ms", "time"), "has no column 'time_ms'"),
    "no feedback": (RANDOM, put(0, "is_click", "click"), "has no column 'is_click'"),
    "no rows": (EARLY, lambda lines: lines[:1], "has a header and no rows"),
    "text": (EARLY, put(3, MIDDLE, "noon"), "row 3, column 'time_ms': 'noon' is no"),
    "fraction": (EARLY, put(3, MIDDLE, "1.5"), "row 3, column 'time_ms': '1.5' is no"),
    "empty": (EARLY, put(3, MIDDLE, ""), "row 3, column 'time_ms': an empty value"),
    "cut off": (
        RANDOM,
        lambda lines: [*lines[:-1], lines[-1][:25]],
        "row 100, column 'is_click': an empty value is not allowed",
    ),
    "cut off late": (
        RANDOM,
        lambda lines: [*lines[:-1], lines[-1].rsplit(",", 2)[0]],
        "row 100, column 'tab': an empty value is not allowed",
    ),
    "surplus field": (EARLY, lambda lines: [*lines[:5], lines[5] + ",1"], "row 5 has"),
    "no feature": (VIDEOS, put(0, "tag", "tags"), "has no column 'tag'"),
    "video twice": (
        VIDEOS,
        lambda lines: [*lines, lines[-1]],
        "'video_id': 59 occurs twice",
    ),
    "no number": (VIDEOS, put(2, "1001.0", "long"), "'video_duration': 'long' is not"),
    "no date": (
        VIDEOS,
        put(2, "2022-04-02", "may"),
        "row 2, column 'upload_dt': 'may'",
    ),
    "no video": (VIDEOS, put(2, "1,", ","), "row 2, column 'video_id': an empty value"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files_are_named(name, tmp_path):
    file, alter, part = FILES[name]
    write_kuairand(tmp_path)
    change(tmp_path, file, alter)
    with pytest.raises(InputError) as caught:
        load(config(tmp_path))
    assert part in str(caught.value) and file in str(caught.value)


def test_a_feedback_other_than_0_and_1_is_named(tmp_path):
    write_kuairand(tmp_path)
    table = kuairand_log(1, APRIL[0], 9)
    table[6][LOG_COLUMNS.index("is_like")] = 2
    write_csv(tmp_path / "data" / EARLY, LOG_COLUMNS, table)
    load(config(tmp_path))
    with pytest.raises(InputError, match="row 7, column 'is_like': 2 is neither"):
        load(config(tmp_path, clicked="is_like"))


@pytest.mark.parametrize("name", [EARLY, RANDOM, VIDEOS, "user_features_pure.csv"])
def test_missing_and_empty_files_are_named(name, tmp_path):
    write_kuairand(tmp_path)
    (tmp_path / "data" / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"{name}: is empty"):
        load(config(tmp_path))
    (tmp_path / "data" / name).unlink()
    with pytest.raises(InputError, match=f"holds no file '{name}'"):
        load(config(tmp_path))


def test_a_part_of_27k_must_not_be_missing(tmp_path):
    write_kuairand(tmp_path, "27k")
    name = "log_standard_4_22_to_5_08_27k_part2.csv"
    (tmp_path / "data" / name).unlink()
    with pytest.raises(InputError, match=f"holds no file '{name}'"):
        load(config(tmp_path))


def test_folders_that_are_none_of_kuairand(tmp_path):
    with pytest.raises(InputError, match="holds no log; give the folder with log_"):
        load(config(tmp_path))
    write_kuairand(tmp_path, "1k")
    write_kuairand(tmp_path)
    with pytest.raises(InputError, match="holds the versions pure and 1k; give each"):
        load(config(tmp_path))


def test_statistics_that_are_none(folder):
    with pytest.raises(InputError, match="statistic_pure.csv: has no column 'plays'"):
        load(config(folder, statistics=["plays"]))


@pytest.mark.parametrize(
    ("splits", "test", "part"),
    [
        (
            "temporal",
            "random",
            "test=random does not fit data.split=temporal; set ",
        ),
        ("given", "standard", "test=standard does not fit data.split=given; set "),
    ],
)
def test_the_split_must_fit_the_test_part(splits, test, part, folder):
    with pytest.raises(InputError, match=part):
        load(config(folder, splits, test=test))


@pytest.mark.parametrize("key", ["clicked", "test"])
def test_keys_are_checked(key):
    with pytest.raises(InputError, match=f"data.kuairand.{key}='x' is unknown; choose"):
        KuaiRandConfig(**{key: "x"})
