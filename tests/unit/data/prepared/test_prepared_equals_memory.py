"""A log prepared by streaming is the log that is read into memory."""

import numpy as np
import polars as pl
import pytest

from twotower_jax.arrays import mapped
from twotower_jax.data import sources
from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.funnel_rows import funnel_rows
from twotower_jax.data.hard_pools import PoolRule, make_pools
from twotower_jax.data.history import make_history
from twotower_jax.data.known_items import first_events, known_items
from twotower_jax.data.log import Stage
from twotower_jax.data.prepared import chunks
from twotower_jax.data.prepared.funnel import load_funnel
from twotower_jax.data.prepared.histories import load_histories
from twotower_jax.data.prepared.known import load_known
from twotower_jax.data.prepared.load import checked_folder, load, stored_split
from twotower_jax.data.prepared.prepare import prepare
from twotower_jax.data.split import split
from twotower_jax.data.summary import data_fingerprint
from twotower_jax.run.loader import Loaded
from twotower_jax.run.problem import stored_pools

ROWS = 200


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "ROWS", 17)
    monkeypatch.setattr(chunks, "GROUP", 3)
    monkeypatch.setattr(mapped, "ROWS", 23)


def rows(seed=0, number=ROWS):
    """Return a table of events with columns of many kinds."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 25, number), rng.integers(0, 40, number)
    shop = [None if one % 7 == 0 else f"shop {one % 5}" for one in item]
    session = rng.integers(0, 9, number)
    return pl.DataFrame(
        {
            "user": user,
            "item": item,
            "name": [f"item {one}" for one in item],
            "time": rng.integers(1_600_000_000, 1_700_000_000, number),
            "day": [f"2024-05-{1 + int(d):02d}" for d in rng.integers(0, 28, number)],
            "clicked": rng.integers(0, 2, number),
            "event": rng.choice(["view", "click", "buy"], number),
            "stars": rng.integers(1, 6, number) / 1.0,
            "stage": rng.choice(["ranked", "exposed", "clicked"], number),
            "request": rng.integers(0, 30, number),
            "below": -1 - rng.integers(0, 30, number),
            "session": [f"s{one}" if one else None for one in session],
            "rank": rng.integers(-1, 12, number),
            "grade": rng.random(number),
            "shop": shop,
            "age": user * 1.5,
            "tags": [f"t{one % 3}|t{one % 4}" for one in item],
        }
    )


def table(path, *, columns=None, **keys):
    named = ColumnsConfig(**(columns or {}))
    keys = {"split": "ratio", "source": "table"} | keys
    return DataConfig(path=str(path), columns=named, **keys)


def same(config, folder):
    """Prepare a configuration; compare log and split with those in memory."""
    said = []
    prepare(config, folder, lambda *words: said.append(words))
    log = sources.load(config)
    parts = split(log, config)
    prepared = DataConfig(source="prepared", path=str(folder), split="given")
    prepared.columns.weight = config.columns.weight
    own, (stored, fingerprint) = load(prepared), stored_split(prepared)
    assert fingerprint == data_fingerprint(log, parts) == data_fingerprint(own, stored)
    assert own.dropped == log.dropped
    assert stored.report == parts.report
    train = parts.train
    wanted = make_history(parts.known, train.user, train.time)
    for one, other in zip(
        wanted, load_histories(checked_folder(prepared)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    same_negatives(log, parts, prepared)
    for side in ("user_features", "item_features"):
        for name, one in getattr(log, side).items():
            found = getattr(own, side)[name]
            assert (one.mean, one.deviation) == (found.mean, found.deviation)
            if one.vocabulary is not None:
                assert one.vocabulary.to_list() == found.vocabulary.to_list()
    if log.weight is not None:
        np.testing.assert_array_equal(log.weight, own.weight)
        np.testing.assert_array_equal(parts.train.weight, stored.train.weight)
    return own, said


RULES = (
    PoolRule((("ranked", 0, None), ("exposed", 0, None)), (1.0, 2.5), "user", 4),
    PoolRule((("ranked", 0, None),), pool="request"),
    PoolRule((("exposed", 2, 9), ("ranked", 0, 5)), (2.0, 1.0), "request", 1),
)


def same_negatives(log, parts, prepared):
    """Compare pools of hard negatives, and the items known at each positive."""
    stored, whole = load_funnel(checked_folder(prepared)), funnel_rows(log, parts)
    assert (stored is None) == bool((log.stage == Stage.CLICKED).all())
    for rule in RULES if stored is not None else ():
        if (rule.pool == "request" and log.request is None) or (
            any(end for *_, end in rule.stages) and log.rank is None
        ):
            continue
        assert len(stored.ends) > 1
        right, counts = make_pools(whole, rule, log.num_items, seed=3)
        data, folder = Loaded(log, parts, np.zeros(0), ""), checked_folder(prepared)
        for _ in ("made", "read"):
            found, own = stored_pools(folder, stored, rule, data, seed=3)
            assert own == counts
            for one, other in zip(right, found, strict=True):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)
    known = load_known(checked_folder(prepared))
    assert (known is None) == (log.time is None)
    if known is not None:
        wanted = known_items(first_events(log), parts.train.time)
        for one, other in zip(wanted, known, strict=True):
            np.testing.assert_array_equal(one, other)


FORMS = {
    "numbers": ({}, {}),
    "text ids": ({"item": "name", "time": "day"}, {"split": "temporal"}),
    "clicks": ({"clicked": "clicked", "time": "time"}, {"split": "leave_last_out"}),
    "events": ({"clicked": "event"}, {"clicked_values": ("buy", "click")}),
    "ratings": ({"rating": "stars"}, {"min_rating": 4.0}),
    "funnel": (
        {"stage": "stage", "request": "request", "rank": "rank", "time": "time"},
        {},
    ),
    "temporal funnel": (
        {"stage": "stage", "request": "request", "time": "time"},
        {"split": "temporal"},
    ),
    "stages without requests": (
        {"stage": "stage", "rank": "rank", "time": "time"},
        {"split": "leave_last_out"},
    ),
    "negative requests": ({"request": "below"}, {}),
    "text requests": ({"request": "session"}, {}),
    "weights": ({"weight": "grade", "clicked": "clicked"}, {}),
    "features": (
        {"time": "time"},
        {
            "query_features": {"age": "numeric"},
            "candidate_features": {"shop": "categorical", "tags": "multi"},
        },
    ),
    "few": ({"clicked": "clicked"}, {"min_item_positives": 3, "min_user_positives": 2}),
    "until": ({"time": "time"}, {"until": "1680000000", "split": "temporal"}),
    "since": ({"time": "time"}, {"since": "1620000000"}),
    "first": ({"time": "time"}, {"repeats": "first"}),
}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table(form, kind, tmp_path):
    path = tmp_path / f"log.{kind}"
    getattr(rows(), f"write_{kind}")(path)
    columns, keys = FORMS[form]
    log, said = same(table(path, columns=columns, **keys), tmp_path / "out")
    if "until" not in keys and "min_item_positives" not in keys:
        assert len(log.user) == ROWS
    read = [done for what, done, _ in said if what == "rows read"]
    assert read == [*range(17, ROWS, 17), ROWS]


@pytest.mark.parametrize("ending", ["csv.gz", "tsv", "jsonl", "feather"])
def test_every_format(ending, tmp_path):
    path, frame = tmp_path / f"log.{ending}", rows().select("user", "item", "clicked")
    if ending == "csv.gz":
        frame.write_csv(path, compression="gzip")
    elif ending == "tsv":
        frame.write_csv(path, separator="\t")
    elif ending == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_ipc(path)
    same(table(path, columns={"clicked": "clicked"}), tmp_path / "out")


def test_a_folder_of_files_is_one_log(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    for number in range(3):
        rows(number, 50).write_parquet(folder / f"{number}.parquet")
    log, _ = same(table(folder, columns={"time": "time"}), tmp_path / "out")
    assert len(log.user) == 150
    assert log.user_ids.to_list()[0] == rows(0, 50)["user"][0]


def test_ids_that_are_text_in_one_file_are_text_in_all(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    rows(0, 50).select("user", "item").write_csv(folder / "a.csv")
    text = rows(1, 50).select("user", pl.format("{}x", "item").alias("item"))
    text.write_csv(folder / "b.csv")
    log, _ = same(table(folder), tmp_path / "out")
    assert log.item_ids.dtype == pl.String
    assert log.user_ids.dtype == pl.Int64


@pytest.mark.parametrize("kind", ["int", "uint", "gaps"])
def test_requests_at_the_ends_of_their_range(kind, tmp_path):
    start = {"int": 2**63 - 30, "uint": 2**64 - 30, "gaps": 2**63 - 30}[kind]
    dtype = pl.UInt64 if kind == "uint" else pl.Int64
    requests = [start + one % 29 for one in range(60)]
    if kind == "gaps":
        requests[5:9] = [None] * 4
    columns = {"request": pl.Series(requests, dtype=dtype)}
    rows(0, 60).select("user", "item").with_columns(**columns).write_parquet(
        tmp_path / "log.parquet"
    )
    config = table(tmp_path / "log.parquet", columns={"request": "request"})
    log, _ = same(config, tmp_path / "out")
    assert len(np.unique(log.request)) == 29 + (4 if kind == "gaps" else 0)


def test_lists_of_items_are_requests_of_their_own(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "lists.csv"
    lists = [" ".join(map(str, rng.integers(0, 9, n))) for n in rng.integers(0, 5, 60)]
    lists[17:34] = [""] * 17  # a whole chunk lists nothing
    pl.DataFrame({"user": rng.integers(0, 9, 60), "item": lists}).write_csv(path)
    log, _ = same(table(path, list_separator="space"), tmp_path / "out")
    assert log.dropped["rows without items"] >= 17
    assert len(np.unique(log.request)) == 60 - log.dropped["rows without items"]


def test_parts_of_their_own_and_tables_of_features(tmp_path):
    for name, seed in (("train", 0), ("valid", 1), ("test", 2)):
        rows(seed, 60).select("user", "item", "time").write_csv(
            tmp_path / f"{name}.csv"
        )
    items = rows().select("item", "shop").unique("item", maintain_order=True)
    items.write_csv(tmp_path / "items.csv")
    config = table(
        tmp_path / "train.csv",
        columns={"time": "time"},
        split="given",
        valid_path=str(tmp_path / "valid.csv"),
        test_path=str(tmp_path / "test.csv"),
        items_path=str(tmp_path / "items.csv"),
        candidate_features={"shop": "categorical"},
    )
    log, _ = same(config, tmp_path / "out")
    assert set(log.part.tolist()) == {0, 1, 2}


def test_another_source(tmp_path):
    config = DataConfig(source="simulator", split="temporal")
    config.simulator.users, config.simulator.items = 50, 60
    config.simulator.requests = 300
    log, _ = same(config, tmp_path / "out")
    assert log.num_items == 60
