"""RecFlow: stages, ranks, days and what is kept, on small files of its format."""

import pickle
import weakref
from collections import Counter, defaultdict

import numpy as np
import polars as pl
import pytest
from kuaishou import (
    DAYS,
    SIZES,
    STAGES,
    recflow_day,
    stage_arrays,
    write_feather,
    write_recflow,
)

from twotower_jax.data.log import Stage
from twotower_jax.data.pools import make_pools
from twotower_jax.data.sources import load, recflow, recflow_files
from twotower_jax.data.split import split
from twotower_jax.errors import InputError
from twotower_jax.schema.data import DataConfig
from twotower_jax.schema.kuaishou import RecFlowConfig, RecFlowKeptConfig

ALL = RecFlowKeptConfig(*[1000] * 6)
NONE = RecFlowKeptConfig(*[0] * 6)
# The stage of a row by its furthest flag, as the documentation of the source says.
STAGE = dict(
    zip(
        STAGES,
        ("EXPOSED", "RE_RANKED", "RANKED", "RANKED", *["PRE_RANKED"] * 2, "RETRIEVED"),
        strict=True,
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_recflow(tmp_path_factory.mktemp("RecFlow"))


def read(folder, **keys):
    keys = {"kept": ALL} | keys
    config = DataConfig(source="recflow", path=str(folder), split="given")
    config.recflow = RecFlowConfig(**keys)
    return load(config)


def rows(log, *more):
    """Return {(request, video): values} of every row."""
    users, items = log.user_ids.to_list(), log.item_ids.to_list()
    out = {}
    for i, (request, item) in enumerate(zip(log.request, log.item, strict=True)):
        values = [users[log.user[i]], Stage(log.stage[i]).name, log.time[i]]
        values += [int(getattr(log, name)[i]) for name in more]
        out[int(request), items[item]] = tuple(values)
    assert len(out) == len(log.user)
    return out


def expected(clicked="effective_view", days=range(3)):
    """Work the rows out of the tables by a plain loop."""
    out = {}
    for day in days:
        table = recflow_day(day)
        ended = defaultdict(list)
        for row in table.iter_rows(named=True):
            flag = next(name for name in STAGES if row[name])
            stage = "CLICKED" if flag == "realshow" and row[clicked] else STAGE[flag]
            key = row["request_id"], row["video_id"]
            out[key] = [row["user_id"], stage, row["request_timestamp"] / 1000, -1, day]
            place = {"rank_neg": "rank_index"} | dict.fromkeys(
                ("rerank_pos", "rerank_neg"), "rerank_index"
            )
            if flag in place:
                ended[row["request_id"], stage].append((row[place[flag]], key))
        for places in ended.values():
            for rank, (_, key) in enumerate(sorted(places)):
                out[key][3] = rank
    return {key: tuple(values) for key, values in out.items()}


def test_every_row_has_its_stage_rank_time_user_and_part(folder):
    log = read(folder)
    assert rows(log, "rank", "part") == expected()
    assert set(log.stage.tolist()) == {int(stage) for stage in Stage}
    assert len(log.user) == 3 * 20 * sum(SIZES)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_pickled_arrays_say_the_same(protocol, tmp_path):
    folder = write_recflow(tmp_path, DAYS[:2], protocol)
    tables, arrays = read(folder), read(folder, stages="request_id_dict")
    assert rows(arrays) == rows(tables)
    assert arrays.rank is None and tables.rank is not None
    for name in ("user", "item"):
        for one, feature in getattr(tables, f"{name}_features").items():
            other = getattr(arrays, f"{name}_features")[one]
            assert (other.kind, other.size) == (feature.kind, feature.size), one


@pytest.mark.parametrize("stages", ["all_stage", "request_id_dict"])
def test_features_are_those_of_the_files(folder, stages):
    log = read(folder, stages=stages)
    video, user = log.item_ids.to_numpy(), log.user_ids.to_numpy()
    for name, ids, size in (
        ("author_id", video, 11),
        ("category_level_one", video, 3),
        ("category_level_two", video, 9),
        ("upload_type", video, 4),
        ("age", user, 5),
        ("gender", user, 2),
        ("province", user, 7),
    ):
        feature = (log.item_features | log.user_features)[name]
        codes = defaultdict(set)
        for one, code in zip(ids % size, feature.values.tolist(), strict=True):
            codes[one].add(code)
        assert len(codes) == feature.size == size, name
        assert all(len(of_value) == 1 for of_value in codes.values()), name
    duration = log.item_features["duration"].values
    assert np.corrcoef(duration, video)[0, 1] == pytest.approx(1)
    uploaded = log.item_features["upload_timestamp"].values
    assert np.corrcoef(uploaded, video)[0, 1] == pytest.approx(-1)


def test_the_feedback_that_makes_a_positive_is_chosen(folder):
    for clicked in ("effective_view", "like"):
        assert rows(read(folder, clicked=clicked), "rank", "part") == expected(clicked)
    assert expected("like") != expected("effective_view")


def test_the_last_days_are_test_and_valid(folder):
    log = read(folder)
    out = split(log, DataConfig(source="recflow", split="given"))
    clicked = log.stage == Stage.CLICKED
    first = Counter((log.part[clicked]).tolist())
    assert len(out.train) == first[0] and 0 < len(out.valid) <= first[1]
    assert out.test.time.min() > out.valid.time.max() > out.train.time.max()
    assert sorted(set(read(folder, days="2").part.tolist())) == [0, 2]
    assert read(folder, days="1").part is None


@pytest.mark.parametrize(
    ("days", "chosen"),
    [
        (None, [0, 1, 2]),
        ("2", [0, 1]),
        ("2024-01-14", [1]),
        ("2024-01-14..2024-01-15", [1, 2]),
    ],
)
def test_days_are_chosen(folder, days, chosen):
    found = {key[0] // 20 for key in rows(read(folder, days=days))}
    assert found == set(chosen)


def test_hard_negatives_are_what_stages_threw_out_of_the_request(folder):
    log = read(folder)
    parts = split(log, DataConfig(source="recflow", split="given"))
    table = expected()
    stages = (("retrieved", 0, None), ("ranked", 0, 2))
    pools, _ = make_pools(log, parts, stages=stages)
    items = log.item_ids.to_list()
    assert len(parts.train) and (pools.of_row >= 0).all()
    for request, place in zip(parts.train.request, pools.of_row, strict=True):
        found = [items[code] for code in pools.item[place] if code < log.num_items]
        wanted = {
            video
            for (one, video), row in table.items()
            if one == request
            and (row[1] == "RETRIEVED" or (row[1] == "RANKED" and 0 <= row[3] < 2))
        }
        assert set(found) == wanted and len(found) == len(wanted) == 7 + 2


# ---------------------------------------------------------------- what is kept


def flags_of_rows(log, table):
    """Count the rows of each request and furthest flag."""
    flag = {
        (row["request_id"], row["video_id"]): next(n for n in STAGES if row[n])
        for row in table.iter_rows(named=True)
    }
    return Counter((request, flag[request, item]) for request, item in rows(log))


def test_rows_kept_of_each_flag_and_request(folder):
    kept = RecFlowKeptConfig(
        rerank_pos=1, rerank_neg=2, rank_pos=3, rank_neg=0, coarse_neg=5, prerank_neg=99
    )
    log = read(folder, days="1", kept=kept)
    counts = flags_of_rows(log, recflow_day(0))
    sizes = dict(zip(STAGES, (4, 1, 2, 2, 0, 5, 7), strict=True))
    assert counts == {(r, n): sizes[n] for r in range(20) for n in STAGES if sizes[n]}
    left_out = log.dropped["rows beyond recflow.kept"]
    assert left_out == 20 * (sum(SIZES) - sum(sizes.values()))
    # Ranks are those before rows were left out.
    whole = rows(read(folder, days="1"), "rank")
    assert all(whole[key] == values for key, values in rows(log, "rank").items())


def test_the_same_seed_keeps_the_same_rows_of_a_day_whatever_other_days_are_read(
    folder,
):
    kept = RecFlowKeptConfig(*[2] * 6)
    alone = rows(read(folder, days="2024-01-14", kept=kept))
    among = rows(read(folder, kept=kept))
    assert alone == {key: row for key, row in among.items() if key[0] // 20 == 1}
    other = rows(read(folder, days="2024-01-14", kept=kept, seed=1))
    assert alone.keys() != other.keys() and len(alone) == len(other)


def test_every_row_of_a_stage_is_kept_alike(tmp_path):
    write_recflow(tmp_path, DAYS[:1], requests=300)
    table = recflow_day(0, requests=300)
    position = {
        (row["request_id"], row["video_id"]): row["rank_index"] - 10
        for row in table.iter_rows(named=True)
    }
    kept = RecFlowKeptConfig(0, 0, 0, 0, 0, prerank_neg=3)
    log = read(tmp_path, kept=kept)
    places = Counter(
        position[key] for key, row in rows(log).items() if row[1] == "RETRIEVED"
    )
    # Seven places, 900 draws: each expects 128.6 with a deviation below 9.
    assert len(places) == 7 and all(90 < n < 168 for n in places.values())


def test_shown_rows_are_always_kept(folder):
    log = read(folder, kept=NONE)
    assert Counter(log.stage.tolist()) == {
        stage: n
        for stage, n in Counter(read(folder).stage.tolist()).items()
        if stage >= Stage.EXPOSED
    }


def test_a_video_with_several_rows_is_at_its_furthest_stage(tmp_path):
    long = recflow_day(0).with_row_index("at")
    # The same day with one row a flag instead of one a video.
    pieces = [
        long.filter(pl.col(name) == 1).with_columns(
            *(pl.lit(int(name == other)).alias(other) for other in STAGES)
        )
        for name in reversed(STAGES)
    ]
    write_feather(
        pl.concat(pieces).drop("at"), tmp_path / f"all_stage/{DAYS[0]}.feather"
    )
    log = read(tmp_path)
    assert rows(log) == {key: row[:3] for key, row in expected(days=[0]).items()}
    more = sum(len(piece) for piece in pieces) - len(long)
    assert log.dropped["further rows of a video"] == more > 0


def test_rows_without_a_flag_are_dropped_and_counted(tmp_path):
    table = recflow_day(0).with_columns(prerank_neg=0)
    write_feather(table, tmp_path / f"all_stage/{DAYS[0]}.feather")
    log = read(tmp_path)
    assert log.dropped["rows of no stage"] == 20 * 7
    assert "RETRIEVED" not in {row[1] for row in rows(log).values()}


# ---------------------------------------------------------------- streaming


def test_a_table_is_read_column_by_column_and_day_by_day(folder, monkeypatch):
    read_columns: list[weakref.ref] = []
    alive = []

    def watched(path, name):
        alive.append(sum(ref() is not None for ref in read_columns))
        values = real(path, name)
        read_columns.append(weakref.ref(values))
        return values

    real = recflow_files.read_column
    monkeypatch.setattr(recflow_files, "read_column", watched)
    read(folder)
    # Of 3 days with 24 columns each, one other column at most while one is read.
    assert len(alive) >= 3 * 24 and max(alive) <= 1


class Content(dict):
    """A dictionary that can be watched."""


def test_arrays_of_a_day_are_dropped_before_the_next_is_read(folder, monkeypatch):
    frames: list[weakref.ref] = []
    contents: list[weakref.ref] = []

    def watched_columns(*arguments):
        assert not any(ref() is not None for ref in frames)
        column, where = columns(*arguments)
        frames.append(weakref.ref(column.__self__))
        return column, where

    def watched_arrays(path):
        assert not any(ref() is not None for ref in contents)
        content = Content(arrays(path))
        contents.append(weakref.ref(content))
        return content

    columns, arrays = recflow.day_columns, recflow_files.read_pickled_arrays
    monkeypatch.setattr(recflow, "day_columns", watched_columns)
    monkeypatch.setattr(recflow_files, "read_pickled_arrays", watched_arrays)
    read(folder, stages="request_id_dict")
    assert len(frames) == len(contents) == len(DAYS)


# ---------------------------------------------------------------- bad input


def change(folder, alter, kind="all_stage", day=DAYS[1]):
    """Rewrite a day's table, altered."""
    path = folder / kind / f"{day}.feather"
    write_feather(alter(pl.read_ipc(path.read_bytes())), path)


def put(name, row, value):
    """Return what puts a value into a row (from 1) of a column."""
    return lambda table: table.with_columns(
        pl.Series(
            name, [*table[name][: row - 1], value, *table[name][row:]], strict=False
        )
    )


TABLES = {
    "missing column": (lambda t: t.drop("rank_index"), "has no column 'rank_index'"),
    "missing feature": (lambda t: t.drop("author_id"), "has no column 'author_id'"),
    "no feedback": (lambda t: t.drop("effective_view"), "no column 'effective_view'"),
    "empty day": (lambda t: t.clear(), "holds no rows"),
    "text": (
        lambda t: t.with_columns(pl.col("video_id").cast(pl.String)),
        "column 'video_id' has values of type String; give whole numbers",
    ),
    "lists": (
        lambda t: t.with_columns(age=pl.concat_list("age")),
        "column 'age' has values of type List",
    ),
    "fraction": (put("user_id", 3, 2.5), "row 3, column 'user_id': 2.5 is no whole"),
    "no video": (put("video_id", 4, None), "row 4, column 'video_id': an empty value"),
    "no user": (put("user_id", 5, None), "row 5, column 'user_id': an empty value"),
    "no request": (put("request_id", 2, None), "row 2, column 'request_id': an empty"),
    "no time": (put("request_timestamp", 2, None), "row 2, column 'request_timestamp'"),
    "flag": (put("coarse_neg", 6, 2), "row 6, column 'coarse_neg': 2 is neither 0 nor"),
    "feedback": (put("effective_view", 1, 7), "row 1, column 'effective_view': 7 is"),
    "no feedback of a shown one": (
        put("effective_view", 1, None),
        "row 1, column 'effective_view': an empty value is neither",
    ),
    "rank": (put("rank_index", 17, -5), "row 17, column 'rank_index': -5 is no rank"),
}


@pytest.mark.parametrize("name", TABLES)
def test_bad_tables_are_named(name, tmp_path):
    alter, part = TABLES[name]
    write_recflow(tmp_path)
    change(tmp_path, alter)
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert part in message and f"all_stage/{DAYS[1]}.feather" in message


def test_gaps_of_features_and_of_ranks_are_no_errors(tmp_path):
    write_recflow(tmp_path)
    for name in ("age", "author_id", "duration", "rank_index"):
        for row in (1, 17):
            change(tmp_path, put(name, row, None))
    log = read(tmp_path)
    assert len(log.user) == len(expected())


@pytest.mark.parametrize("end", [0, 5, 400, 0.5, -3])
def test_a_table_that_is_cut_off_is_named(end, tmp_path):
    write_recflow(tmp_path)
    path = tmp_path / "all_stage" / f"{DAYS[2]}.feather"
    whole = path.read_bytes()
    end = int(len(whole) * end) if isinstance(end, float) else end
    path.write_bytes(whole[:end])
    with pytest.raises(
        InputError, match=f"{DAYS[2]}.feather: is no feather file, or da"
    ):
        read(tmp_path)


def test_a_damaged_table_is_no_crash(tmp_path):
    """Whatever byte is wrong, the outcome is an error of input or another table."""
    write_recflow(tmp_path, DAYS[:1], requests=4)
    path = tmp_path / "all_stage" / f"{DAYS[0]}.feather"
    whole, some, refused = path.read_bytes(), np.random.default_rng(0), 0
    for turn in range(60):
        content = bytearray(whole)
        # Every other time in the footer, which says where the columns are.
        low = len(content) - 600 if turn % 2 else 0
        for place in some.integers(low, len(content), size=3):
            content[place] ^= 0xFF
        path.write_bytes(content)
        try:
            read(tmp_path)
        except InputError:
            refused += 1
    assert refused > 20


EVERYWHERE = {"rank_neg": np.ones((200, 8), np.int64)}
ARRAYS = {
    "another stage": ({1: {"click": np.zeros((1, 8), int)}}, "a stage 'click'"),
    "no dictionary": ([1, 2], "is no dictionary of requests"),
    "no request": ({}, "is no dictionary of requests"),
    "text as request": ({"a": {}}, "'a' is no request"),
    "no stages": ({1: [2]}, "1 is no request"),
    "huge request": ({2**70: {}}, "is no request"),
    "huge number": (
        {1: {"rank_neg": np.full((1, 8), 2**64 - 1, np.uint64)}},
        "a number above 9223372036854775807",
    ),
    # Held once by the file, and in so many places far more than its size.
    "one array everywhere": (
        dict.fromkeys(range(500), EVERYWHERE),
        "700,000 numbers by its requests",
    ),
    "list": ({1: {"rank_neg": [1, 2]}}, "request 1, 'rank_neg': is list of"),
    "number": ({1: {"rank_neg": 5}}, "request 1, 'rank_neg': is int of"),
    "one dimension": ({1: {"rank_neg": np.zeros(8, int)}}, "is (8,) of int64"),
    "few columns": ({1: {"rank_neg": np.zeros((2, 3), int)}}, "is (2, 3) of int64"),
    "fractions": ({1: {"rank_neg": np.zeros((2, 8))}}, "is (2, 8) of float64"),
    "nothing": ({1: {"rank_neg": np.zeros((0, 8), int)}}, "holds nothing that"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_bad_arrays_are_named(name, tmp_path):
    content, part = ARRAYS[name]
    write_recflow(tmp_path, DAYS[:1])
    path = tmp_path / "request_id_dict" / f"{DAYS[0]}.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError) as caught:
        read(tmp_path, stages="request_id_dict")
    assert part in str(caught.value) and str(path) in str(caught.value)


def test_requests_in_which_nothing_was_shown_are_counted(tmp_path):
    write_recflow(tmp_path, DAYS[:1])
    arrays = stage_arrays(recflow_day(0))
    arrays[999] = {"rank_neg": np.ones((3, 8), np.int64), "coarse_neg": ()}
    path = tmp_path / "request_id_dict" / f"{DAYS[0]}.pkl"
    path.write_bytes(pickle.dumps(arrays))
    log = read(tmp_path, stages="request_id_dict")
    assert log.dropped["rows of requests not shown"] == 3
    assert 999 not in log.request


@pytest.mark.parametrize(
    ("days", "part"),
    [
        ("4", "has files of 3 days, from 2024-01-13 to 2024-01-15, and not of all"),
        ("0", "data.recflow.days=0: "),
        ("2024-01-16", "data.recflow.days=2024-01-16: "),
        ("2024-01-14..2024-01-17", "days=2024-01-14..2024-01-17: "),
    ],
)
def test_days_that_are_not_there(folder, days, part):
    with pytest.raises(InputError) as caught:
        read(folder, days=days)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "days", ["", "-1", "x", "2024-13-01", "2024-01-15..2024-01-13", "1..3"]
)
def test_days_that_are_none(days):
    with pytest.raises(InputError, match="names no days; give a number of days"):
        RecFlowConfig(days=days)


def test_missing_folders_and_files_are_named(tmp_path):
    config = {"stages": "request_id_dict"}
    with pytest.raises(InputError, match="holds no folder 'all_stage'"):
        read(tmp_path)
    with pytest.raises(InputError, match="holds no folder 'realshow'"):
        read(tmp_path, **config)
    (tmp_path / "all_stage").mkdir()
    with pytest.raises(InputError, match="all_stage: holds no file of a day"):
        read(tmp_path)
    write_recflow(tmp_path)
    (tmp_path / "request_id_dict" / f"{DAYS[1]}.pkl").unlink()
    with pytest.raises(InputError, match="request_id_dict: has no file of 2024-01-14"):
        read(tmp_path, **config)
    read(tmp_path, **config, days="1")
    (tmp_path / "all_stage" / "test.feather").write_bytes(b"")
    with pytest.raises(InputError, match="test.feather: is named after no day"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"stages": "other"}, "data.recflow.stages='other' is unknown"),
        ({"clicked": "realshow"}, "data.recflow.clicked='realshow' is unknown"),
        ({"seed": -1}, "data.recflow.seed=-1 is out of range"),
    ],
)
def test_keys_are_checked(keys, part):
    with pytest.raises(InputError, match=part):
        RecFlowConfig(**keys)
    with pytest.raises(InputError, match="data.recflow.kept.rank_neg=-1 is out of"):
        RecFlowKeptConfig(rank_neg=-1)
