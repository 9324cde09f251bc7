"""RecFlow: stages, ranks, days and kept rows, on small files of its format."""

import os
import pickle
import subprocess
import sys
import weakref
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.funnels import pools_of
from helpers.kuaishou import (
    DAYS,
    SIZES,
    STAGES,
    recflow_day,
    stage_arrays,
    stage_table,
    write_feather,
    write_recflow,
)
from helpers.recflow_log import expected, read

from twotower_jax.data.config import DataConfig
from twotower_jax.data.kuaishou import RecFlowKeptConfig
from twotower_jax.data.log import Stage
from twotower_jax.data.sources import recflow
from twotower_jax.data.split import split

NONE = RecFlowKeptConfig(*[0] * 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_recflow(tmp_path_factory.mktemp("RecFlow"))


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


def test_every_row_has_its_stage_rank_time_user_and_part(folder):
    log = read(folder)
    assert rows(log, "rank", "part") == expected()
    assert set(log.stage.tolist()) == {int(stage) for stage in Stage}
    assert len(log.user) == 3 * 20 * sum(SIZES)


def test_both_forms_say_the_same(folder):
    tables, arrays = read(folder), read(folder, stages="request_id_dict")
    assert rows(arrays) == rows(tables)
    assert arrays.rank is None and tables.rank is not None
    for name in ("user", "item"):
        for one, feature in getattr(tables, f"{name}_features").items():
            other = getattr(arrays, f"{name}_features")[one]
            assert (other.kind, other.size) == (feature.kind, feature.size), one


CONVERT = Path(__file__).parents[4] / "experiments/papers/recflow/convert.py"


class Touches:
    """Pickles as a command of the shell."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_the_script_makes_tables_of_pickled_arrays_and_runs_nothing(tmp_path):
    frame = recflow_day(0)
    content = stage_arrays(frame) | {999: {"rank_neg": ()}}
    for protocol in (2, 4, 5):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
    (tmp_path / "z.pkl").write_bytes(pickle.dumps({1: Touches(tmp_path / "ran")}))
    words = [sys.executable, str(CONVERT), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "system is not an array of numbers" in done.stderr
    assert not (tmp_path / "ran").exists() and not (tmp_path / "z.feather").exists()
    for protocol in (2, 4, 5):
        table = pl.read_ipc((tmp_path / f"{protocol}.feather").read_bytes())
        assert table.equals(stage_table(frame))


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


def test_hard_negatives_are_discarded_items_of_the_request(folder):
    log = read(folder)
    parts = split(log, DataConfig(source="recflow", split="given"))
    table = expected()
    stages = (("retrieved", 0, None), ("ranked", 0, 2))
    pools, _ = pools_of(log, parts, stages=stages)
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


# ------------------------------------------------------------------ kept rows


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


def test_the_kept_rows_of_a_day_do_not_depend_on_other_days(
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

    real = recflow.read_column
    monkeypatch.setattr(recflow, "read_column", watched)
    read(folder)
    # Of 3 days with 24 columns each, one other column at most while one is read.
    assert len(alive) >= 3 * 24 and max(alive) <= 1


def test_columns_of_a_day_are_dropped_before_the_next_is_read(folder, monkeypatch):
    frames: list[weakref.ref] = []

    def watched_columns(*arguments):
        assert not any(ref() is not None for ref in frames)
        column, where = columns(*arguments)
        frames.append(weakref.ref(column.__self__))
        return column, where

    columns = recflow.day_columns
    monkeypatch.setattr(recflow, "day_columns", watched_columns)
    read(folder, stages="request_id_dict")
    assert len(frames) == len(DAYS)
