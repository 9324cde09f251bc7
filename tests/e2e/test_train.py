"""A run from its configuration to its files, and the commands that read them."""

import re
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
import tiny

from twotower_jax.config import fingerprint, from_dict
from twotower_jax.errors import InputError
from twotower_jax.prepare import load_data
from twotower_jax.records import VERSIONS, RunFolder, run_folder
from twotower_jax.run import evaluate_run, run
from twotower_jax.training.loop import NonFiniteLossError

SPLITS = ("valid", "test")


def metrics(result):
    """Return the metrics as JSON holds them."""
    return {
        split: {n: None if v != v else v for n, v in values.items()}
        for split, values in result["metrics"].items()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the configuration and result of a finished run that saved its lists."""
    output = tmp_path_factory.mktemp("outputs")
    config = tiny.make_config(output, "evaluation.save_topk=true")
    return config, run(config, command="twotower train in a test")


def test_the_files_of_a_run(finished):
    config, result = finished
    folder = run_folder(config)
    assert folder == Path(config.output) / "simulator" / fingerprint(config)
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "manifest.json",
        "status.json",
        "metrics.jsonl",
        "result.json",
        "queries.parquet",
        "topk.parquet",
        "checkpoints",
    }
    assert from_dict(RunFolder(folder).config()) == config
    assert tiny.read_json(folder / "status.json") == {"status": "done", "reason": None}
    manifest = tiny.read_json(folder / "manifest.json")
    assert manifest["command"] == "twotower train in a test"
    assert manifest["config_fingerprint"] == fingerprint(config)
    assert manifest["data_fingerprint"] == load_data(config).fingerprint
    assert manifest["seed"] == config.seed
    assert manifest["device"] == jax.devices()[0].device_kind
    assert set(manifest["versions"]) == set(VERSIONS)
    assert manifest["versions"]["jax"] == jax.__version__
    records = tiny.read_lines(folder / "metrics.jsonl")
    assert [one["step"] for one in records] == [10, 20, 30, 40]
    for one in records:
        assert one["loss"] > 0 and one["seconds"] > 0
        assert {"recall@10", "ndcg@20"} <= set(one["valid"])
    stored = tiny.read_json(folder / "result.json")
    assert stored["metrics"] == metrics(result)
    assert stored["seed"] == 0 and stored["steps"] == 40
    assert stored["seconds"] > 0 and stored["examples_per_second"] > 0
    names = {"recall@10", "recall@20", "recall@20/head", "recall@20/tail", "ndcg@20"}
    assert all(names <= set(stored["metrics"][split]) for split in SPLITS)


def test_training_learns(finished):
    _, result = finished
    # An order by chance finds 20 of the (fewer than 300) unseen items.
    assert result["metrics"]["test"]["recall@20"] > 2 * 20 / 300


def test_metrics_of_the_best_validation_are_reported(finished):
    config, result = finished
    records = tiny.read_lines(run_folder(config) / "metrics.jsonl")
    best = max(records, key=lambda one: one["valid"]["recall@20"])
    assert result["best_step"] == best["step"]
    assert metrics(result)["valid"].items() >= best["valid"].items()


def test_the_same_command_returns_the_finished_run(finished):
    config, result = finished
    files = sorted(p for p in run_folder(config).rglob("*") if p.is_file())
    before = [path.stat().st_mtime_ns for path in files]
    again = run(config)
    assert metrics(again) == metrics(result)
    assert again["seconds"] == result["seconds"]
    assert sorted(p for p in run_folder(config).rglob("*") if p.is_file()) == files
    assert [path.stat().st_mtime_ns for path in files] == before


def test_the_same_configuration_elsewhere_gives_the_same_bits(finished, tmp_path):
    config, result = finished
    other = tiny.make_config(tmp_path, "evaluation.save_topk=true", "arm=label")
    assert metrics(run(other)) == metrics(result)
    for name in ("queries.parquet", "topk.parquet"):
        first, second = (pl.read_parquet(run_folder(c) / name) for c in (config, other))
        assert first.equals(second), name


def test_any_number_of_steps_per_dispatch_gives_the_same_bits(finished, tmp_path):
    _, result = finished
    other = tiny.make_config(
        tmp_path, "evaluation.save_topk=true", "training.steps_per_dispatch=3"
    )
    assert metrics(run(other)) == metrics(result)


def test_another_seed_gets_another_folder_and_other_numbers(finished):
    config, result = finished
    other = tiny.make_config(Path(config.output), "evaluation.save_topk=true", "seed=1")
    changed = run(other)
    assert run_folder(other) != run_folder(config)
    assert run_folder(other).parent == run_folder(config).parent
    assert changed["seed"] == 1
    assert metrics(changed) != metrics(result)
    # The seed changes neither the data nor its split.
    manifests = [RunFolder(run_folder(c)).read("manifest") for c in (config, other)]
    assert len({one["data_fingerprint"] for one in manifests}) == 1
    assert changed["queries"] == result["queries"]


def test_evaluate_gives_the_bits_of_the_result(finished, capsys):
    config, result = finished
    assert metrics({"metrics": evaluate_run(config, run_folder(config))}) == metrics(
        result
    )
    assert tiny.command("evaluate", str(run_folder(config))) == 0
    shown = capsys.readouterr().out
    value = result["metrics"]["test"]["recall@20"]
    assert re.search(rf"recall@20 .*{value:.4f}", shown)


def test_reproduce_says_equal_or_where_it_differs(finished, capsys):
    config, _ = finished
    folder = run_folder(config)
    assert tiny.command("reproduce", str(folder)) == 0
    assert "equal: every metric has the same bits" in capsys.readouterr().out
    text = (folder / "result.json").read_text()
    altered = tiny.read_json(folder / "result.json")
    old = altered["metrics"]["test"]["ndcg@10"]
    altered["metrics"]["test"]["ndcg@10"] = float(np.nextafter(old, 1))
    try:
        RunFolder(folder).write("result", altered)
        assert tiny.command("reproduce", str(folder)) == 1
    finally:
        (folder / "result.json").write_text(text)
    shown = capsys.readouterr().out
    changed = altered["metrics"]["test"]["ndcg@10"]
    assert f"test ndcg@10: {changed} before, {old} now" in shown
    assert shown.count(" before, ") == 1 and "equal" not in shown


# --- queries.parquet and topk.parquet ------------------------------------------------


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


# --- when training ends --------------------------------------------------------------


def test_early_stopping_reports_the_best_checkpoint(tmp_path):
    config = tiny.make_config(
        tmp_path,
        "training.patience=2",
        "training.steps=4000",
        "optimizer.learning_rate=0.5",
    )
    result = run(config)
    records = tiny.read_lines(run_folder(config) / "metrics.jsonl")
    values = [one["valid"]["recall@20"] for one in records]
    best = values.index(max(values))
    # It stops at the second validation in a row that is no better than the best.
    assert len(values) == best + 3
    assert result["steps"] == records[-1]["step"] == 10 * len(values) < 4000
    assert result["best_step"] == records[best]["step"] < result["steps"]
    assert metrics(result)["valid"].items() >= records[best]["valid"].items()
    assert metrics({"metrics": evaluate_run(config, run_folder(config))}) == metrics(
        result
    )


def test_a_run_without_a_validation_set_reports_its_last_step(tmp_path):
    config = tiny.make_config(tmp_path, "data.fit_valid=true")
    result = run(config)
    assert set(result["metrics"]) == {"test"}
    assert result["best_step"] == result["steps"] == 40
    records = tiny.read_lines(run_folder(config) / "metrics.jsonl")
    assert [set(one) for one in records] == [{"step", "loss", "seconds"}] * 4
    assert metrics({"metrics": evaluate_run(config, run_folder(config))}) == metrics(
        result
    )
    # As after a kill between the last checkpoint and the result.
    RunFolder(run_folder(config)).set_status("running")
    assert metrics(run(config)) == metrics(result)


def test_no_steps_evaluate_the_towers_as_they_begin(tmp_path):
    config = tiny.make_config(tmp_path, "training.steps=0")
    result = run(config)
    assert result["steps"] == 0 and result["examples_per_second"] is None
    assert metrics({"metrics": evaluate_run(config, run_folder(config))}) == metrics(
        result
    )


def test_epochs_are_steps_over_the_positives(tmp_path):
    config = tiny.make_config(tmp_path, "training.steps=null", "training.epochs=2")
    number = len(load_data(config).split.train)
    assert run(config)["steps"] == -(-2 * number // 256)


def test_a_loss_that_is_not_finite_fails_naming_the_steps(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "towers.normalize=false")
    words = (*words, "optimizer.learning_rate=1e30")
    assert tiny.command("train", *words) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(r"steps before step \d+; lower optimizer.learning_rate", error)
    (folder,) = (tmp_path / "simulator").iterdir()
    status = tiny.read_json(folder / "status.json")
    assert status["status"] == "failed"
    assert re.search(r"NonFiniteLossError: .* before step \d+", status["reason"])
    assert not (folder / "result.json").exists()
    assert tiny.command("evaluate", str(folder)) == 2
    assert "no finished run" in capsys.readouterr().err
    config = from_dict(RunFolder(folder).config())
    with pytest.raises(NonFiniteLossError):
        run(config)


# --- towers and their features -------------------------------------------------------


def test_popularity_recommends_by_counts_without_training(tmp_path):
    config = tiny.make_config(
        tmp_path, "towers=popularity", "evaluation.save_topk=true"
    )
    result = run(config)
    assert result["steps"] == 0
    assert not (run_folder(config) / "checkpoints").exists()
    assert metrics({"metrics": evaluate_run(config, run_folder(config))}) == metrics(
        result
    )
    data = load_data(config)
    ids = data.log.item_ids.to_list()
    counts = defaultdict(int)
    seen = defaultdict(set)
    users = data.log.user_ids.to_list()
    for item in data.split.train.item:
        counts[ids[item]] += 1
    for part in (data.split.train, data.split.valid):
        for user, item in zip(part.user, part.item, strict=True):
            seen[users[user]].add(ids[item])
    top = pl.read_parquet(run_folder(config) / "topk.parquet")
    for (user,), rows in top.group_by("user"):
        unseen = [one for one in ids if one not in seen[user]]
        # Equal counts: the item that the log names first.
        unseen.sort(key=lambda one: (-counts[one], ids.index(one)))
        assert rows.sort("rank")["item"].to_list() == unseen[:20]
        assert rows.sort("rank")["score"].to_list() == [counts[o] for o in unseen[:20]]


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


@pytest.mark.parametrize(
    "hidden", ["[]", pytest.param("[8]", marks=pytest.mark.slow)], ids=["sum", "mlp"]
)
def test_features_of_every_kind_train_together(hidden, feature_tables):
    config, result = run_with_features(feature_tables, "all", f"towers.hidden={hidden}")
    metrics_again = evaluate_run(config, run_folder(config))
    assert metrics({"metrics": metrics_again}) == metrics(result)
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


def test_a_feature_tells_apart_what_ids_cannot(tmp_path):
    """Users of two towns click different halves of the items: the town finds out."""
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
