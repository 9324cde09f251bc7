"""Baselines as arms, beside a run, and beside the arms of a sweep."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from helpers import tiny
from helpers.quick import quick

from twotower_jax.config import from_dict
from twotower_jax.evaluation.scorers import Embeddings
from twotower_jax.run import evaluate as baselines
from twotower_jax.run import run
from twotower_jax.run.evaluate import evaluate_run
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import load_data
from twotower_jax.sweeps.compose import compose_config

KINDS = ("popularity", "item_knn", "ease", "ials")
QUICK = ("baseline.ials.factors=8", "baseline.ials.iterations=2")


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    """Let no fit or ranking of another test stand in for one of this test."""
    monkeypatch.setattr(baselines, "_fits", baselines.Latest(1))
    monkeypatch.setattr(baselines, "_rankings", baselines.Latest(10))


def made(output, kind, *words):
    """Return the configuration and result of a baseline that saves its lists."""
    words = (*QUICK, f"arms=baseline/{kind}", "evaluation.save_topk=true", *words)
    config = tiny.make_config(output, *words)
    return config, run(config)


def clicks(data, *parts):
    """Return the pairs of parts as a dense matrix of 0 and 1."""
    out = np.zeros((data.log.num_users, data.log.num_items))
    for part in parts:
        out[part.user, part.item] = 1
    return out


def codes(data, config):
    """Return {user: items of its list} of a run, as codes."""
    top = pl.read_parquet(run_folder(config) / "topk.parquet").sort("user", "rank")
    users = {one: code for code, one in enumerate(data.log.user_ids.to_list())}
    items = {one: code for code, one in enumerate(data.log.item_ids.to_list())}
    lists = {}
    for user, item in top.select("user", "item").iter_rows():
        lists.setdefault(users[user], []).append(items[item])
    return lists


def expected_lists(data, known, weights):
    """Return the lists by scores known @ weights, popularity where all are 0."""
    scores = known @ weights
    scores[~scores.any(axis=1)] = np.bincount(
        data.split.train.item, minlength=data.log.num_items
    )
    scores[clicks(data, data.split.train, data.split.valid) > 0] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :20]


def ease_by_definition(x, l2):
    inverse = np.linalg.inv(x.T @ x + l2 * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("history", [False, True])
def test_ease_reads_the_positives_that_the_towers_read(tmp_path, history):
    """On test: those of training, with a history of the query those of valid too."""
    words = ["towers.query=[id,history]"] if history else []
    config, result = made(tmp_path, "ease", *words)
    data = load_data(config)
    x = clicks(data, data.split.train)
    known = clicks(data, data.split.train, data.split.valid) if history else x
    expected = expected_lists(data, known, ease_by_definition(x, 200.0))
    lists = codes(data, config)
    same = [(expected[user] == items).mean() for user, items in lists.items()]
    assert np.mean(same) > 0.99  # rounding may swap two of 20
    empty = sum(not known[user].any() for user in lists)
    assert 0 < empty <= result["samples"]["queries ranked by popularity"]["test"]
    assert result["samples"]["precision"] == "float64"


@pytest.mark.parametrize("kind", quick(KINDS, ["popularity", "ials"]))
def test_a_baseline_has_all_metrics_and_can_be_evaluated_again(tmp_path, kind):
    auc = "evaluation.auc=[uniform,exposed]"
    config, result = made(tmp_path, kind, auc)
    tower = run(tiny.make_config(tmp_path, "training.steps=0", auc))
    for split in ("valid", "test"):
        assert set(result["metrics"][split]) == set(tower["metrics"][split])
    assert {"auc@uniform", "auc@exposed"} < set(result["metrics"]["test"])
    again = evaluate_run(config, run_folder(config))
    np.testing.assert_equal(again, result["metrics"])
    assert result["steps"] == 0 and not (run_folder(config) / "checkpoints").exists()
    valid = replace(config, evaluation=replace(config.evaluation, test=False))
    tuned = run(valid)["metrics"]
    np.testing.assert_equal(tuned, {"valid": result["metrics"]["valid"]})


def test_fit_valid_adds_the_rows_of_valid(tmp_path):
    config, result = made(tmp_path, "ease", "data.fit_valid=true")
    data = load_data(config)
    assert set(result["metrics"]) == {"test"}
    x = clicks(data, data.split.train)
    expected = expected_lists(data, x, ease_by_definition(x, 200.0))
    same = [(expected[u] == items).mean() for u, items in codes(data, config).items()]
    assert np.mean(same) > 0.99


@pytest.mark.slow
def test_the_seed_changes_ials_alone(tmp_path):
    for kind in KINDS:
        first, second = (made(tmp_path, kind, f"seed={s}")[1] for s in (0, 1))
        assert (first["metrics"] == second["metrics"]) == (kind != "ials"), kind


def test_buy_again_ranks_the_items_of_a_user_by_their_clicks(tmp_path):
    """Where repeats count; the other items of a list follow by popularity."""
    words = ("data.repeats=all", "baselines=true")
    config, result = made(tmp_path, "buy_again", *words)
    data = load_data(config)
    counts = np.zeros((data.log.num_users, data.log.num_items))
    np.add.at(counts, (data.split.train.user, data.split.train.item), 1)
    popular = counts.sum(axis=0)
    lists = codes(data, config)
    assert any(counts[user].any() for user in lists)
    for user, items in lists.items():
        order = np.lexsort((np.arange(len(popular)), -popular, -counts[user]))
        assert items == order[: len(items)].tolist()
    beside = run(tiny.make_config(tmp_path, "training.steps=0", *QUICK, *words))
    assert beside["baselines"]["buy_again"] == result["metrics"]


def test_buy_again_is_refused_where_seen_items_are_masked(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "arms=baseline/buy_again")
    assert tiny.command("train", *words) == 2
    error = capsys.readouterr().err
    assert "towers.kind=buy_again" in error and "data.repeats=all" in error


def test_arms_are_baselines_whatever_the_towers_are():
    for kind in KINDS:
        config = compose_config(["towers=factors", f"arms=baseline/{kind}"])
        assert config.towers.kind == kind
    assert compose_config(["arms=popularity"]) == compose_config(
        ["arms=baseline/popularity"]
    )


# --- beside a run --------------------------------------------------------------------


def test_a_run_has_popularity_beside_it_and_a_warning_where_it_loses(tmp_path, capsys):
    words = ("train", *tiny.SMALL, f"output={tmp_path}", "training.steps=0")
    assert tiny.command(*words) == 0
    shown = capsys.readouterr().out.splitlines()
    (folder,) = (tmp_path / "simulator").iterdir()
    result = RunFolder(folder).result()
    popular = run(tiny.make_config(tmp_path, "arms=baseline/popularity"))
    assert set(result["baselines"]) == {"popularity"}
    stored = result["baselines"]["popularity"]
    for split in ("valid", "test"):
        mine = {n: v for n, v in popular["metrics"][split].items() if v == v}
        assert {n: v for n, v in stored[split].items() if v is not None} == mine
    own = result["metrics"]["test"]["recall@20"]
    theirs = popular["metrics"]["test"]["recall@20"]
    assert own < theirs
    assert f"test recall@20 {own:.4f}   popularity {theirs:.4f}" in shown
    (warning,) = [line for line in shown if line.startswith("warning: ")]
    assert "recall@20" in warning and "does not beat popularity" in warning
    assert "optimizer.learning_rate" in warning
    assert popular["baselines"]["popularity"] == popular["metrics"]
    assert tiny.command(*words, "arms=baseline/popularity") == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.slow
def test_popularity_is_ranked_once_for_all_runs_on_the_same_queries(
    tmp_path, monkeypatch
):
    calls, rank = [], baselines.rank

    def counted(config, data, queries, scorer):
        if not isinstance(scorer, Embeddings):  # of the towers of each run
            calls.append(scorer)
        return rank(config, data, queries, scorer)

    monkeypatch.setattr(baselines, "rank", counted)
    first = run(tiny.make_config(tmp_path, "training.steps=0"))
    assert len(calls) == 2  # valid and test
    second = run(tiny.make_config(tmp_path, "training.steps=1", "seed=3"))
    assert len(calls) == 2 and second["baselines"] == first["baselines"]
    other = run(tiny.make_config(tmp_path, "training.steps=0", "evaluation.k=[20]"))
    assert len(calls) == 4
    shared = {"recall@20", "true_recall@20"}
    for split, values in other["baselines"]["popularity"].items():
        before = first["baselines"]["popularity"][split]
        assert all(values[n] == before[n] for n in shared & set(values))


@pytest.mark.slow
def test_the_others_are_fitted_and_shown_on_request(tmp_path, capsys):
    words = ("train", *tiny.SMALL, *QUICK, f"output={tmp_path}", "training.steps=0")
    assert tiny.command(*words) == 0
    capsys.readouterr()
    (folder,) = (tmp_path / "simulator").iterdir()
    before = RunFolder(folder).result()
    # A label: the run is the one of before, and its record gets the other baselines.
    assert tiny.command(*words, "baselines=true") == 0
    shown = capsys.readouterr().out
    assert "finished before" in shown and len(list(folder.parent.iterdir())) == 1
    result = RunFolder(folder).result()
    assert set(result["baselines"]) == set(KINDS)
    assert result["metrics"] == before["metrics"]
    for kind in KINDS:
        alone = made(tmp_path / "alone", kind)[1]["metrics"]["test"]["recall@20"]
        assert result["baselines"][kind]["test"]["recall@20"] == alone
        label = baselines.BASELINES[kind].label
        assert f"   {label} {alone:.4f}" in shown
    other = run(tiny.make_config(tmp_path / "new", *QUICK, "baselines=true"))
    assert list(other["baselines"]) == list(KINDS)


# --- limits --------------------------------------------------------------------------

SMALL_LIMITS = {
    "item_knn": "baseline.item_knn.max_pairs=100",
    "ease": "baseline.ease.max_size=10",
    "ials": "baseline.ials.max_rows=20",
}


@pytest.mark.parametrize("kind", quick(SMALL_LIMITS, ["ease"]))
def test_a_baseline_beyond_its_limit_is_refused_or_left_out(tmp_path, capsys, kind):
    limit = SMALL_LIMITS[kind]
    words = ("train", *tiny.SMALL, f"output={tmp_path}", "training.steps=0")
    words = (*words, "baseline.ials.iterations=1")
    assert tiny.command(*words, f"arms=baseline/{kind}", limit) == 2
    error = capsys.readouterr().err
    assert f"towers.kind={kind}" in error and limit in error and "raise it" in error
    assert "Traceback" not in error and not (tmp_path / "simulator").exists()
    assert tiny.command(*words, "baselines=true", limit) == 0
    shown = capsys.readouterr().out
    assert f"baseline left out: {kind}" in shown and limit in shown
    (folder,) = (tmp_path / "simulator").iterdir()
    assert set(RunFolder(folder).result()["baselines"]) == set(KINDS) - {kind}


# --- a sweep -------------------------------------------------------------------------


def study(output):
    """Return {(arm, seed): result} of a folder of runs."""
    found = {}
    for path in sorted(output.glob("*/result.json")):
        config = from_dict(RunFolder(path.parent).config())
        found[config.arm, config.seed] = tiny.read_json(path)
    return found


@pytest.mark.parametrize("launcher", quick(["basic", "fused"], ["basic"]))
def test_a_sweep_has_the_baselines_as_arms(tmp_path, capsys, launcher):
    words = (*tiny.SMALL, *QUICK, f"output={tmp_path}", "name=study", "baselines=true")
    words = ("train", "-m", *words, "training.steps=5", f"hydra/launcher={launcher}")
    words = (*words, "hydra.callbacks.study.objective=false")
    assert tiny.command(*words, "arms=in_batch,baseline/ease") == 0
    shown = capsys.readouterr().out
    found = study(tmp_path / "study")
    arms = {"in-batch", "popularity", "item-kNN", "EASE", "iALS"}
    assert {arm for arm, _ in found} == arms
    assert len(list((tmp_path / "study").glob("*/result.json"))) == 5
    popular = found["popularity", 0]["metrics"]["test"]["recall@20"]
    assert shown.count(f"popularity {popular:.4f}") == 4
    # Trained runs have popularity beside them; the others are arms.
    assert {name for one in found.values() for name in one["baselines"]} == {
        "popularity"
    }


@pytest.mark.slow
def test_no_baseline_begins_after_wrong_input(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "name=study", "baselines=true")
    words = ("train", "-m", *words, "training.batch_size=10000000", "seed=0,1")
    assert tiny.command(*words) == 2
    assert capsys.readouterr().err.count("error: training.batch_size") == 1
    assert not list((tmp_path / "study").glob("*/config.yaml"))


@pytest.mark.slow
def test_a_sweep_crosses_no_axis_with_its_baselines(tmp_path, capsys):
    words = (*tiny.SMALL, *QUICK, f"output={tmp_path}", "name=study", "baselines=true")
    words = ("train", "-m", *words, "training.steps=5", "baseline.ease.max_size=10")
    axes = ("optimizer.learning_rate=0.1,0.2", "seed=0,1")
    assert tiny.command(*words, *axes) == 0
    shown = capsys.readouterr().out
    assert shown.count("baseline left out: ease") == 1
    found = study(tmp_path / "study")
    fitted = {"popularity", "item-kNN", "iALS"}
    assert {arm for arm, _ in found} == fitted | {None}
    assert len(list((tmp_path / "study").glob("*/result.json"))) == 2 * 2 + 3 * 2
    table = pl.read_csv(tmp_path / "study" / "study.csv")
    axes_alone = {"learning_rate=0.1", "learning_rate=0.2"}
    assert set(table["arm"]) == fitted | axes_alone
    assert "difference to learning_rate=0.1 with" in shown
    alone = made(tmp_path / "alone", "item_knn")[1]["metrics"]["test"]["recall@20"]
    assert found["item-kNN", 1]["metrics"]["test"]["recall@20"] == alone
    for (arm, _), result in found.items():
        assert set(result["baselines"]) == {"popularity"}, arm
    # The same again makes no run.
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result.json")}
    assert tiny.command(*words, *axes) == 0
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result.json")}
    assert after == before
