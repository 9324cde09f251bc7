"""RecFlow: errors name damaged files, missing days and wrong keys."""

import numpy as np
import polars as pl
import pytest
from helpers.kuaishou import (
    DAYS,
    recflow_day,
    stage_table,
    write_feather,
    write_recflow,
)
from helpers.recflow_log import expected, read

from twotower_jax.data.kuaishou import RecFlowConfig, RecFlowKeptConfig
from twotower_jax.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_recflow(tmp_path_factory.mktemp("RecFlow"))


def change(folder, alter, kind="all_stage", day=DAYS[1]):
    """Rewrite a day's table, altered."""
    path = folder / kind / f"{day}.feather"
    write_feather(alter(pl.read_ipc(path.read_bytes())), path)


def put(name, row, value):
    """Return a function that puts a value into a row (from 1) of a column."""
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
    "fraction": (put("user_id", 3, 2.5), "row 3, column 'user_id': 2.5 is not a whole"),
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
    "rank": (
        put("rank_index", 17, -5),
        "row 17, column 'rank_index': -5 is not a rank",
    ),
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
        InputError, match=f"{DAYS[2]}.feather: is not a feather file, or is da"
    ):
        read(tmp_path)


def test_a_damaged_table_is_no_crash(tmp_path):
    """Any wrong byte leads to an InputError or another table."""
    write_recflow(tmp_path, DAYS[:1], requests=4)
    path = tmp_path / "all_stage" / f"{DAYS[0]}.feather"
    whole, some, refused = path.read_bytes(), np.random.default_rng(0), 0
    for turn in range(60):
        content = bytearray(whole)
        # Every other time in the footer, which stores the places of the columns.
        low = len(content) - 600 if turn % 2 else 0
        for place in some.integers(low, len(content), size=3):
            content[place] ^= 0xFF
        path.write_bytes(content)
        try:
            read(tmp_path)
        except InputError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("alter", "part"),
    [
        (lambda t: t.drop("author_id"), "has no column 'author_id'"),
        (lambda t: t.with_columns(flag=pl.lit(7)), "other values than 0 to 6; make th"),
        (lambda t: t.clear(), "holds no rows"),
    ],
)
def test_tables_of_discarded_videos_that_the_script_did_not_make(alter, part, tmp_path):
    write_recflow(tmp_path, DAYS[:1])
    change(tmp_path, alter, "request_id_dict", DAYS[0])
    with pytest.raises(InputError, match=part):
        read(tmp_path, stages="request_id_dict")


def test_requests_in_which_nothing_was_shown_are_counted(tmp_path):
    write_recflow(tmp_path, DAYS[:1])
    unseen = (
        stage_table(recflow_day(0))
        .head(3)
        .with_columns(request_id=pl.lit(999, pl.Int64))
    )
    change(tmp_path, lambda t: pl.concat([t, unseen]), "request_id_dict", DAYS[0])
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
    with pytest.raises(InputError, match="does not name days; give a number of days"):
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
    (tmp_path / "request_id_dict" / f"{DAYS[1]}.feather").unlink()
    with pytest.raises(InputError, match="request_id_dict: has no table of 2024-01-14"):
        read(tmp_path, **config)
    read(tmp_path, **config, days="1")
    (tmp_path / "all_stage" / "test.feather").write_bytes(b"")
    with pytest.raises(InputError, match="test.feather: is not named after a day"):
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
