"""Launchers of other packages: jobs in other processes end as those of one process."""

import importlib.util

import polars as pl
import pytest
from helpers import tiny

# Processes start, and import JAX, for each of them.
pytestmark = pytest.mark.slow

PLUGINS = {
    "joblib": ("hydra_joblib_launcher", ("hydra.launcher.n_jobs=2",)),
    "submitit_local": ("hydra_submitit_launcher", ()),
}


def need(plugin):
    """Skip where a plugin is not installed."""
    missing = not importlib.util.find_spec("hydra_plugins")
    if missing or not importlib.util.find_spec(f"hydra_plugins.{plugin}"):
        pytest.skip(f"{plugin} is not installed: pip install -e '.[sweep]'")


def sweep(output, *words):
    """Run a sweep in a process of its own; return its status and its output."""
    base = (*tiny.SMALL, f"output={output}", "name=away", "towers=popularity")
    log, words = output / "log", ("train", "-m", *base, *words)
    process = tiny.start(words, cwd=output, cache=output / "cache", log=log)
    return process.wait(240), log.read_text()


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_in_other_processes(launcher, tmp_path):
    plugin, words = PLUGINS[launcher]
    need(plugin)
    words = (
        f"hydra/launcher={launcher}",
        *words,
        "seed=0,1",
        "evaluation.k=[20],[20,999]",
    )
    # A catalogue of 300 items has no first 999.
    status, shown = sweep(tmp_path, *words)
    assert status == 2 and "Traceback" not in shown
    assert shown.count("error: evaluation.k=[20, 999] asks for 999 items") == 1
    assert "2 runs failed alike: evaluation.k=[20, 999] asks for 999 items" in shown
    table = pl.read_csv(tmp_path / "away/study.csv")
    assert table["run"].n_unique() == 2 and set(table["seed"]) == {0, 1}
    assert "Skipped folders" not in (tmp_path / "away/report.html").read_text()
    for path in (tmp_path / "away").glob("*/manifest.json"):
        command = tiny.read_json(path)["command"]
        assert f"train -m {tiny.SMALL[0]}" in command and "seed=0,1" in command


def test_a_folder_that_is_swept_has_its_report(tmp_path):
    need("hydra_joblib_launcher")
    words = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "name=one,two")
    status, _ = sweep(tmp_path, *words)
    assert status == 0
    assert {path.parent.name for path in tmp_path.glob("*/report.html")} == {
        "one",
        "two",
    }


def test_a_selection_in_other_processes(tmp_path):
    need("hydra_joblib_launcher")
    words = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra/sweeper=select")
    tune = ("hydra.sweeper.trials=2", "hydra.sweeper.tune_seeds=[7]")
    words = (*words, *tune, "towers=item_knn", "seed=0")
    status, _ = sweep(tmp_path, *words)
    assert status == 0
    assert len(list(tmp_path.glob("away/select/*/result.json"))) == 2
    assert len(list(tmp_path.glob("away/*/result.json"))) == 1
    assert "<h2>Tuning</h2>" in (tmp_path / "away/report.html").read_text()


def test_a_search_reads_validation_and_survives_a_failed_job(tmp_path):
    need("hydra_optuna_sweeper")
    search = ("hydra/sweeper=optuna", "hydra.sweeper.direction=maximize")
    trials = ("hydra.sweeper.n_trials=2", "hydra/sweeper/sampler=grid")
    words = (
        *search,
        *trials,
        "evaluation.test=false",
        "towers.init_scale=choice(1,0)",
    )
    status, _ = sweep(tmp_path, *words)
    assert status == 2
    best = (tmp_path / "away/optimization_results.yaml").read_text()
    (result,) = tmp_path.glob("away/*/result.json")
    metrics = tiny.read_json(result)["metrics"]
    assert metrics.keys() == {"valid"}
    assert f"best_value: {metrics['valid']['recall@20']}" in best
