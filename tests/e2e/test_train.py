"""A run from its configuration to its files, and the commands that read them."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
from helpers import tiny

from twotower_jax.config import fingerprint, from_dict
from twotower_jax.run import run
from twotower_jax.run.evaluate import evaluate_run, load_trained, rank_sets
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import load_data
from twotower_jax.run.manifest import VERSIONS
from twotower_jax.run.problem import make_problem
from twotower_jax.run.rank import make_query_set, sampled_queries
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
        "vocabulary.json",
        "topk.trec",
        "qrels.trec",
        "checkpoints",
    }
    assert from_dict(RunFolder(folder).config()) == config
    status = tiny.read_json(folder / "status.json")
    assert status.pop("sha256").keys() >= {"config.yaml", "result.json"}
    assert status == {"status": "done", "reason": None}
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


@pytest.mark.slow
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


def test_reproduce_prints_equal_or_the_differences(finished, capsys):
    config, _ = finished
    folder = run_folder(config)
    assert tiny.command("reproduce", str(folder)) == 0
    assert "equal: every metric has the same bits" in capsys.readouterr().out
    text, status = ((folder / f"{n}.json").read_text() for n in ("result", "status"))
    tiny.unseal(folder)
    altered = tiny.read_json(folder / "result.json")
    old = altered["metrics"]["test"]["ndcg@10"]
    altered["metrics"]["test"]["ndcg@10"] = float(np.nextafter(old, 1))
    try:
        RunFolder(folder).write("result", altered)
        assert tiny.command("reproduce", str(folder)) == 1
    finally:
        (folder / "result.json").write_text(text)
        (folder / "status.json").write_text(status)
    shown = capsys.readouterr().out
    changed = altered["metrics"]["test"]["ndcg@10"]
    assert f"test ndcg@10: {changed} before, {old} now" in shown
    assert shown.count(" before, ") == 1 and "equal" not in shown


@pytest.mark.slow
def test_a_single_run_does_not_import_matplotlib(tmp_path):
    words = [*tiny.SMALL, "towers=popularity", f"output={tmp_path}"]
    code = (
        "import sys\nfrom twotower_jax.cli import main\n"
        f"try:\n    main({['train', *words]})\n"
        "finally:\n    print(sorted({'matplotlib', 'polars'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['polars']"


# --- when training ends --------------------------------------------------------------


def test_early_stopping_reports_the_best_checkpoint(tmp_path):
    config = tiny.make_config(
        tmp_path,
        "training.patience=2",
        "training.min_steps=0",
        "training.steps=4000",
        "optimizer.learning_rate=0.5",
    )
    result = run(config)
    records = tiny.read_lines(run_folder(config) / "metrics.jsonl")
    values = [one["valid"]["recall@20"] for one in records]
    best = values.index(max(values))
    # It stops at the second validation in a row that is not better than the best.
    assert len(values) == best + 3
    assert result["steps"] == records[-1]["step"] == 10 * len(values) < 4000
    assert result["stopped"] == "patience"
    assert result["best_step"] == records[best]["step"] < result["steps"]
    assert metrics(result)["valid"].items() >= records[best]["valid"].items()
    assert metrics({"metrics": evaluate_run(config, run_folder(config))}) == metrics(
        result
    )


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_finished_run_keeps_the_parameters_of_its_best_step_alone(tmp_path):
    """Beside them, a state has two moments of Adam of the same size."""
    words = ("optimizer=adam", "towers.dim=128", "training.patience=0")
    paused = tiny.make_config(tmp_path, *words, "pause=30")
    run(paused)
    kept = run_folder(paused) / "checkpoints"
    states = {path.name: size(path) for path in kept.iterdir() if path.is_dir()}
    assert "30" in states and all(name.isdigit() for name in states)
    result = run(tiny.make_config(tmp_path, *words))
    params = f"{result['best_step']}-params"
    assert {path.name for path in kept.iterdir()} == {params, f"{params}.json"}
    assert size(kept) < 0.5 * states["30"]
    # A state that the status promises but nobody has is made anew, to the bit.
    config = tiny.make_config(tmp_path, *words)
    RunFolder(run_folder(config)).set_status("running")
    assert metrics(run(config)) == metrics(result)
    assert metrics({"metrics": evaluate_run(config, run_folder(config))}) == metrics(
        result
    )


def test_validations_of_a_part_watch_the_same_queries_in_every_run(tmp_path):
    """The result has all queries; the order of steps is judged on some of them."""
    watched = []
    for seed in (0, 1):
        config = tiny.make_config(tmp_path, "training.eval_queries=30", f"seed={seed}")
        result = run(config)
        assert result["queries"]["valid"] > 100
        data = load_data(config)
        queries = make_query_set(config, data, "valid")
        part = sampled_queries(queries, 30)
        watched.append(part.user.tolist())
        rows = np.searchsorted(queries.user, part.user)
        problem = make_problem(config, data)
        params = load_trained(config, run_folder(config)).params
        sets = {"valid": queries}
        ranking = rank_sets(config, data, problem, params, sets)["valid"]
        records = tiny.read_lines(run_folder(config) / "metrics.jsonl")
        (best,) = [r for r in records if r["step"] == result["best_step"]]
        for name in ("recall@20", "ndcg@10"):
            value = ranking.per_query[name][rows].mean()
            assert best["valid"][name] == pytest.approx(value, abs=1e-6)
        assert ranking.metrics()["recall@20"] == result["metrics"]["valid"]["recall@20"]
    assert watched[0] == watched[1] and len(set(watched[0])) == 30


@pytest.mark.parametrize(
    ("patience", "end"), [(1, "ended by training.patience"), (0, "ended by its limit")]
)
def test_the_last_line_names_the_end_of_the_training(tmp_path, capsys, patience, end):
    words = ("training.min_steps=0", f"training.patience={patience}", "name=one")
    rate = "optimizer.learning_rate=1.0e-30"  # the first validation stays the best
    assert tiny.command("train", *tiny.SMALL, *words, rate, f"output={tmp_path}") == 0
    shown = capsys.readouterr().out
    steps = 20 if patience else 40
    (line,) = (one for one in shown.splitlines() if one.startswith(f"{steps} steps in"))
    assert line.endswith(f"examples/s; the best is step 10, {end}")


@pytest.mark.slow
def test_a_run_without_a_validation_set_reports_its_last_step(tmp_path):
    config = tiny.make_config(tmp_path, "data.fit_valid=true")
    result = run(config)
    assert set(result["metrics"]) == {"test"}
    assert result["best_step"] == result["steps"] == 40
    assert result["stopped"] == "limit"
    records = tiny.read_lines(run_folder(config) / "metrics.jsonl")
    assert [set(one) for one in records] == [{"step", "loss", "seconds"}] * 4
    assert metrics({"metrics": evaluate_run(config, run_folder(config))}) == metrics(
        result
    )
    # As after a kill between the last checkpoint and the result.
    RunFolder(run_folder(config)).set_status("running")
    assert metrics(run(config)) == metrics(result)


@pytest.mark.slow
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


@pytest.mark.slow
def test_resampling_changes_neither_the_steps_nor_the_validations(tmp_path):
    """Arms of equal epochs train alike, whatever number of positives they keep."""
    words = ("training.steps=null", "training.epochs=2", "training.eval_every=null")
    steps, samples = {}, {}
    for strategy in ("none", "downsample_hot", "upsample_cold"):
        config = tiny.make_config(tmp_path, *words, f"positives={strategy}")
        result = run(config)
        records = tiny.read_lines(run_folder(config) / "metrics.jsonl")
        steps[strategy] = [record["step"] for record in records]
        samples[strategy] = result["samples"]["positives"]["samples after"]
    assert samples["downsample_hot"] < samples["none"] < samples["upsample_cold"]
    epoch = -(-samples["none"] // 256)
    assert steps == {name: [epoch, 2 * epoch] for name in samples}


def test_a_loss_that_is_not_finite_fails_naming_the_steps(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "towers.normalize=false")
    words = (*words, "optimizer.learning_rate=1e29")
    assert tiny.command("train", *words) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(r"steps before step \d+; lower optimizer.learning_rate", error)
    (folder,) = (tmp_path / "simulator").iterdir()
    assert tiny.command("train", *words, "towers.init_scale=1e19") == 1
    error = capsys.readouterr().err
    assert "; lower towers.init_scale=1e+19 or optimizer.learning_rate" in error
    status = tiny.read_json(folder / "status.json")
    assert status["status"] == "failed"
    assert re.search(r"NonFiniteLossError: .* before step \d+", status["reason"])
    assert not (folder / "result.json").exists()
    assert tiny.command("evaluate", str(folder)) == 2
    assert "no finished run" in capsys.readouterr().err
    config = from_dict(RunFolder(folder).config())
    with pytest.raises(NonFiniteLossError):
        run(config)


# --- nothing to train ----------------------------------------------------------------


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


@pytest.mark.slow
def test_features_that_the_data_choose_are_named_and_used_again(tmp_path, capsys):
    words = [*tiny.SMALL, "towers.query=[]", "towers.candidate=[]", "training.steps=8"]
    assert tiny.command("train", *words, f"output={tmp_path}") == 0
    (folder,) = (tmp_path / "simulator").glob("*/result.json")
    result = tiny.read_json(folder)
    assert result["towers"] == {
        "query": ["id", "history", "activity", "segment"],
        "candidate": ["id", "author", "category", "price", "stars", "tags"],
    }
    # The checkpoint has a table of each: the same towers are made again.
    capsys.readouterr()
    assert tiny.command("evaluate", str(folder.parent)) == 0
    shown = f"{result['metrics']['test']['recall@20']:.4f}"
    assert shown in capsys.readouterr().out
