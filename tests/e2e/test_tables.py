"""Runs on tables: their lists and queries, changed data, features of every kind."""

from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from helpers import tiny

from twotower_jax.errors import InputError
from twotower_jax.run import run
from twotower_jax.run.evaluate import differences, evaluate_run
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import load_data


def simulated_table(path, user=str, item=int):
    """Write the positives of a tiny world with the given kinds of ids."""
    config = tiny.make_config(path.parent)
    log = load_data(config).log
    clicked = log.stage == 5
    frame = pl.DataFrame(
        {
            "user": [user(u) for u in log.user[clicked].tolist()],
            "item": [item(i) for i in log.item[clicked].tolist()],
            "at": log.time[clicked],
        }
    )
    frame.write_parquet(path)
    return frame


def table_config(path, output, *overrides):
    words = ("data=table", f"data.path={path}", "data.columns.time=at", *overrides)
    return tiny.make_config(output, *words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("user", "item"),
    [
        (lambda u: f"u {u}", lambda i: 10**12 + i),
        (lambda u: -u, lambda i: f"é;{i}"),
    ],
    ids=["text-users", "text-items"],
)
def test_lists_and_queries_by_a_plain_loop(user, item, tmp_path):
    """Recompute recall from topk.parquet and the table itself, by hand."""
    frame = simulated_table(tmp_path / "clicks.parquet", user, item)
    config = table_config(
        tmp_path / "clicks.parquet", tmp_path, "evaluation.save_topk=true"
    )
    result = run(config)
    folder = run_folder(config)
    top = pl.read_parquet(folder / "topk.parquet")
    assert top.columns == ["user", "rank", "item", "score"]
    assert top["user"].dtype == frame["user"].dtype
    assert top["item"].dtype == frame["item"].dtype

    seen, truth = defaultdict(set), defaultdict(set)
    by_user = defaultdict(list)
    for row, (one_user, one_item, at) in enumerate(frame.iter_rows()):
        by_user[one_user].append((at, row, one_item))
    # The split by hand: each user's last fifth (halves up), one left to train.
    for one_user, clicks in by_user.items():
        number = min(int(0.2 * len(clicks) + 0.5 + 1e-9), len(clicks) - 1)
        ordered = [one for _, _, one in sorted(clicks)]
        seen[one_user] = set(ordered[: len(clicks) - number])
        truth[one_user] = set(ordered[len(clicks) - number :]) - seen[one_user]
    lists = defaultdict(list)
    for one_user, rank, one_item, score in top.iter_rows():
        assert rank == len(lists[one_user]) + 1
        assert one_item not in seen[one_user]
        if rank > 1:
            assert score <= lists[one_user][-1][1]
        lists[one_user].append((one_item, score))
    queries = [one for one in by_user if truth[one]]
    assert set(lists) == set(queries)
    assert all(len(found) == 20 for found in lists.values())
    recall = {}
    for one_user in queries:
        found = {one for one, _ in lists[one_user]}
        assert len(found) == 20
        hits = len(found & truth[one_user])
        recall[one_user] = hits / len(truth[one_user])
    test = result["metrics"]["test"]
    mean = sum(recall.values()) / len(recall)
    assert test["recall@20"] == pytest.approx(mean, abs=1e-6)

    table = pl.read_parquet(folder / "queries.parquet")
    assert table["user"].dtype == frame["user"].dtype
    assert len(table) == len(queries) == result["queries"]["test"]
    assert table["user"].n_unique() == len(table)
    for one_user, value in table.select("user", "recall@20").iter_rows():
        assert value == pytest.approx(recall[one_user], abs=1e-6)
    for name in table.columns[1:]:
        values = [v for v in table[name].to_list() if v is not None and v == v]
        expected = sum(values) / len(values)
        assert test[name] == pytest.approx(expected, abs=1e-6), name


# --- changed data --------------------------------------------------------------------


def test_a_test_file_is_kept_apart_or_refused(tmp_path):
    frame = simulated_table(tmp_path / "all.parquet")
    whole = frame.sort("at")
    cut = int(0.8 * len(whole))
    whole[:cut].write_parquet(tmp_path / "train.parquet")
    whole[cut:].write_parquet(tmp_path / "test.parquet")
    words = (tmp_path / "train.parquet", tmp_path)
    word = f"data.test_path={tmp_path / 'test.parquet'}"
    with pytest.raises(InputError, match="data.split=ratio divides.*split=given"):
        load_data(table_config(*words, word))
    data = load_data(table_config(*words, word, "data.split=given"))
    repeated = data.split.report["duplicate valid positives"]
    assert len(data.split.train) + len(data.split.valid) + repeated == cut
    assert len(data.split.valid) / cut == pytest.approx(0.1, abs=0.02)
    # Without a test part every row may be trained on, as the recipe of an advice does.
    shares = ("data.valid_share=0", "data.test_share=0")
    assert len(load_data(table_config(*words, word, *shares)).split.train) == len(whole)


def test_changed_data_is_refused_naming_both_fingerprints(tmp_path, capsys):
    path = tmp_path / "clicks.parquet"
    frame = simulated_table(path)
    config = table_config(path, tmp_path, "training.steps=3")
    run(config)
    before = load_data(config).fingerprint
    folder = run_folder(config)
    stored = (folder / "result.json").read_text()
    frame.head(len(frame) - 1).write_parquet(path)
    after = load_data(config).fingerprint
    assert before != after
    with pytest.raises(InputError) as caught:
        run(config)
    assert before in str(caught.value) and after in str(caught.value)
    for name in ("evaluate", "reproduce"):
        assert tiny.command(name, str(folder)) == 2
        error = capsys.readouterr().err
        assert before in error and after in error and "Traceback" not in error
    assert (folder / "result.json").read_text() == stored
    assert RunFolder(folder).is_done()


# --- features ------------------------------------------------------------------------


FEATURES = {
    "none": ("id", "id"),
    "categorical": ("id,town", "id,shop"),
    "multi": ("id,likes", "id,tags"),
    "numeric": ("id,age", "id,price"),
    "history": ("id,history", "id"),
    "all": ("id,age,town,likes,history", "id,price,shop,tags"),
}


@pytest.fixture(scope="module")
def feature_tables(tmp_path_factory):
    """Return a folder with clicks, and users and items with features."""
    folder = tmp_path_factory.mktemp("features")
    frame = simulated_table(folder / "clicks.parquet", user=int)
    some = np.random.default_rng(0)
    words = [["red"], ["red", "blue"], [], ["green", "blue"]]
    items = frame["item"].unique(maintain_order=True)
    pl.DataFrame(
        {
            "item": items,
            "price": some.normal(size=len(items)),
            "shop": [f"s{i % 7}" for i in items],
            "tags": [words[i % 4] for i in items],
        }
    ).write_parquet(folder / "items.parquet")
    users = frame["user"].unique(maintain_order=True)
    pl.DataFrame(
        {
            "user": users,
            "age": some.normal(size=len(users)),
            "town": [f"t{u % 5}" for u in users],
            "likes": [words[(u + 1) % 4] for u in users],
        }
    ).write_parquet(folder / "users.parquet")
    return folder


def run_with_features(folder, name, *overrides):
    query, candidate = FEATURES[name]
    config = table_config(
        folder / "clicks.parquet",
        folder,
        f"data.items_path={folder}/items.parquet",
        f"data.users_path={folder}/users.parquet",
        "data.candidate_features={price: numeric, shop: categorical, tags: multi}",
        "data.query_features={age: numeric, town: categorical, likes: multi}",
        "training.steps=10",
        "training.merge_columns=false",
        f"towers.query=[{query}]",
        f"towers.candidate=[{candidate}]",
        *overrides,
    )
    return config, run(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    "hidden", ["[]", pytest.param("[8]", marks=pytest.mark.slow)], ids=["sum", "mlp"]
)
def test_features_of_every_kind_train_together(hidden, feature_tables):
    config, result = run_with_features(feature_tables, "all", f"towers.hidden={hidden}")
    again = {"metrics": evaluate_run(config, run_folder(config))}
    assert again["metrics"] and not differences(again, result)
    losses = [
        one["loss"] for one in tiny.read_lines(run_folder(config) / "metrics.jsonl")
    ]
    assert np.isfinite(losses).all()


@pytest.mark.slow
def test_features_of_each_kind_change_the_result(feature_tables):
    values = set()
    for name in FEATURES:
        test = run_with_features(feature_tables, name)[1]["metrics"]["test"]
        values.add((test["recall@20"], test["ndcg@20"]))
    assert len(values) == len(FEATURES)


@pytest.mark.slow
def test_a_feature_separates_users_that_ids_cannot(tmp_path):
    """Users of two towns click different halves of the items."""
    some = np.random.default_rng(0)
    users = some.integers(0, 100, 4000)
    pl.DataFrame(
        {
            "user": users,
            "item": 2 * some.integers(0, 20, 4000) + users % 2,
            "at": np.arange(4000),
            "town": [f"t{u % 2}" for u in users],
        }
    ).write_parquet(tmp_path / "clicks.parquet")
    config = table_config(
        tmp_path / "clicks.parquet",
        tmp_path,
        "data.query_features={town: categorical}",
        "towers.query=[town]",
        "data.mask_seen=false",
        "evaluation.save_topk=true",
    )
    run(config)
    top = pl.read_parquet(run_folder(config) / "topk.parquet")
    right = top.filter(pl.col("item") % 2 == pl.col("user") % 2)
    assert len(right) > 0.95 * len(top)
    lists = top.filter(pl.col("user") % 2 == 0).sort("user", "rank")
    by_user = lists.group_by("user").agg("item")["item"].to_list()
    assert by_user.count(by_user[0]) == len(by_user)
