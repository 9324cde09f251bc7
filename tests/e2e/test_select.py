"""hydra/sweeper=select: arms are tuned without the test, winners tested once."""

import polars as pl
import pytest
from helpers import tiny

from twotower_jax.study.selection import grid_points, read_selection

TUNE = "hydra.sweeper.tune={optimizer.learning_rate:[0.01,0.4],training.epochs:'1,2'}"
STUDY = (
    "train",
    "-m",
    "hydra/sweeper=select",
    *tiny.SMALL[:-3],
    "training.eval_every=10",
    "evaluation.k=[20]",
    "arms=popularity,in_batch_logq",
    "name=study",
)


def select(output, *words, status=0):
    """Run a selection; return its folder."""
    assert tiny.command(*STUDY, f"output={output}", *words) == status
    return output / "study"


def results(folder):
    """Return the result of each run in a folder by its name."""
    found = sorted(folder.glob("*/result.json"))
    return {path.parent.name: tiny.read_json(path) for path in found}


def touched(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return select(tmp_path_factory.mktemp("outputs"), "seed=0,1", TUNE)


def test_runs_that_choose_do_not_see_the_test(study):
    tuning = results(study / "select")
    assert len(tuning) == 2 * 4 * 2
    for name, result in tuning.items():
        assert set(result["metrics"]) == set(result["queries"]) == {"valid"}
        assert not list((study / "select" / name).glob("*.parquet"))
    for result in results(study).values():
        assert set(result["metrics"]) == {"valid", "test"}


def test_the_winner_is_the_best_on_validation(study):
    """Made again from the runs alone: configurations by arm and point."""
    found = {}
    for name, result in results(study / "select").items():
        config = (study / "select" / name / "config.yaml").read_text()
        arm = "popularity" if "arm: popularity" in config else "in-batch + logQ"
        rate = "0.01" if "learning_rate: 0.01" in config else "0.4"
        epochs = "2" if "epochs: 2" in config else "1"
        value = result["metrics"]["valid"]["recall@20"]
        found.setdefault(arm, {}).setdefault((rate, epochs), []).append(value)
    # As many points for each arm, and as many runs for each point.
    assert [len(v) for arm in found.values() for v in arm.values()] == [2] * 8
    selection = read_selection(study)
    assert selection is not None and selection.seeds == (0, 1)
    for one in selection.arms:
        means = {point: sum(v) / 2 for point, v in found[one.arm].items()}
        trial = one.trials[one.chosen]
        best = max(means.values())
        assert means[tuple(trial.point.values())] == trial.mean == best
        assert len(one.runs) == 2
    trained = next(one for one in selection.arms if one.arm != "popularity")
    assert len({trial.mean for trial in trained.trials}) > 1


def test_winners_are_tested_with_seeds_of_their_own(study):
    selection = read_selection(study)
    assert selection is not None
    tested = results(study)
    assert sorted(tested) == sorted(run for one in selection.arms for run in one.runs)
    assert {result["seed"] for result in tested.values()} == {0, 1}
    tuned = {result["seed"] for result in results(study / "select").values()}
    assert tuned == {100, 101} == set(selection.tune_seeds)
    for one in selection.arms:
        for run in one.runs:
            config = (study / run / "config.yaml").read_text()
            rate = one.trials[one.chosen].point["optimizer.learning_rate"]
            assert f"arm: {one.arm}" in config and f"learning_rate: {rate}" in config


def test_the_report_has_winners_only_and_shows_the_tuning(study):
    table = pl.read_csv(study / "study.csv")
    assert set(table["run"]) == set(results(study))
    text = (study / "report.html").read_text()
    assert "<h2>Tuning</h2>" in text and "Skipped folders" not in text
    assert "all 4 points for every arm, each with seeds 100, 101" in text
    assert "in-batch + logQ is best on the edge of the grid, at" in text
    assert "more runs of this folder" not in text
    points = pl.read_csv(study / "select.csv")
    assert points.group_by("arm").len()["len"].to_list() == [4, 4]
    assert not (study / "select" / "report.html").exists()


def test_the_same_again_runs_nothing(study, capsys):
    before = touched(study)
    select(study.parent, "seed=0,1", TUNE)
    assert touched(study) == before
    assert capsys.readouterr().out.count("finished before") == len(before) == 20


def test_one_more_seed_makes_the_runs_of_that_seed(study):
    before = touched(study)
    select(study.parent, "seed=0,1,2", TUNE)
    after = touched(study)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 2  # a run of each arm


def test_arms_try_the_points_of_a_budget(tmp_path):
    """Also where the runs are side by side, and the test seed comes by default."""
    words = (TUNE, "hydra.sweeper.budget=2", "hydra.sweeper.tune_seeds=[5]")
    folder = select(tmp_path, *words, "hydra/launcher=fused")
    selection = read_selection(folder)
    assert selection is not None and selection.seeds == (0,)
    points = grid_points(selection.axes, 2)
    for one in selection.arms:
        assert [trial.point for trial in one.trials] == points
    assert len(results(folder / "select")) == 4 and len(results(folder)) == 2
    assert (
        "the same 2 of 4 points for every arm" in (folder / "report.html").read_text()
    )


def unsized(output, sizes):
    """Run a selection of the batch size, with one seed; return status and folder."""
    study = [word for word in STUDY if not word.startswith("training.batch_size")]
    words = ("arms=in_batch_logq", "hydra.sweeper.tune_seeds=[5]", f"output={output}")
    tune = f"hydra.sweeper.tune={{training.batch_size:{sizes}}}"
    return tiny.command(*study, *words, tune), output / "study"


def test_a_point_that_fails_is_not_chosen(tmp_path, capsys):
    """The tiny world has fewer positives than a million."""
    status, folder = unsized(tmp_path, "[1000000,256]")
    selection = read_selection(folder)
    assert status == 2 and selection is not None
    (one,) = selection.arms
    assert one.trials[0].values == () and one.chosen == 1
    assert len(results(folder)) == 1
    assert "1 failed" in (folder / "report.html").read_text()
    assert capsys.readouterr().err.count("error: ") == 1


def test_without_a_winner_nothing_is_tested(tmp_path, capsys):
    status, folder = unsized(tmp_path, "[1000000]")
    assert status == 2 and not results(folder)
    assert "so nothing is tested; change" in capsys.readouterr().err


WRONG = {
    "unknown axis": (["hydra.sweeper.tune={loss.temprature:[1]}"], ["loss.temprature"]),
    "value out of range": (
        ["hydra.sweeper.tune={loss.temperature:[0.1,0]}"],
        ["loss.temperature=0"],
    ),
    "no axis": ([], ["hydra.sweeper.tune has no axis", "give one, such as"]),
    "empty axis": (
        ["hydra.sweeper.tune={loss.temperature:[]}"],
        ["hydra.sweeper.tune.loss.temperature is empty", "give its values"],
    ),
    "axis of two keys": (
        ["hydra.sweeper.tune={loss:{temperature:[1]}}"],
        ["write each axis in one", "loss.temperature: 0.05,0.1"],
    ),
    "axis that the arms set": (
        [TUNE, "optimizer.learning_rate=0.1,0.2"],
        ["optimizer.learning_rate is tuned", "leave one out"],
    ),
    "axis of the data": (
        ["hydra.sweeper.tune={data.valid_share:[0.1,0.2]}"],
        ["hydra.sweeper.tune.data.valid_share cannot be tuned", "same data"],
    ),
    "no budget": (
        [TUNE, "hydra.sweeper.budget=0"],
        ["hydra.sweeper.budget=0 is out of range", "at least 1"],
    ),
    "budget of text": (
        [TUNE, "hydra.sweeper.budget=two"],
        ["hydra.sweeper.budget=two is not a whole number"],
    ),
    "half a budget": (
        [TUNE, "hydra.sweeper.budget=1.5"],
        ["hydra.sweeper.budget=1.5 is not a whole number"],
    ),
    "one seed that chooses and tests": (
        [TUNE, "hydra.sweeper.tune_seeds=100", "seed=0,100"],
        ["tune_seeds=[100]", "seed=[0, 100]"],
    ),
    "unknown metric of the study": (
        [TUNE, "hydra.callbacks.study.metric=recal@20"],
        ["hydra.callbacks.study.metric='recal@20'", "did you mean recall@20?"],
    ),
    "no such base arm": (
        [TUNE, "arms=in_batch,uniform", "hydra.callbacks.study.base=unform"],
        ["hydra.callbacks.study.base='unform' is not an arm", "did you mean uniform?"],
    ),
    "seeds that choose and test": (
        [TUNE, "seed=0,100,101"],
        ["tune_seeds=[100, 101]", "seed=[0, 100, 101]", "share [100, 101]"],
    ),
    "no tune seeds": ([TUNE, "hydra.sweeper.tune_seeds=[]"], ["is empty; give one or"]),
    "unknown metric": (
        [TUNE, "hydra.sweeper.metric=recal@20"],
        ["hydra.sweeper.metric='recal@20' is unknown", "recall@20"],
    ),
    "no validation set": (
        [TUNE, "data.valid_share=0"],
        ["data.valid_share=0 makes none", "set data.valid_share above 0"],
    ),
    "trained on validation": (
        [TUNE, "data.fit_valid=true"],
        ["evaluation.test=false", "set data.fit_valid=false"],
    ),
    "one arm twice": (
        [TUNE, "arms=in_batch", "arm=first,second"],
        ["'first'", "'second'", "one configuration", "leave one of them out"],
    ),
    "two folders": ([TUNE, "name=study,other"], ["kept in one folder", "one name="]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_selections_end_before_any_run(case, tmp_path, capsys):
    words, parts = WRONG[case]
    select(tmp_path, *words, status=2)
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "Traceback" not in error
    assert all(part in error for part in parts), error
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_single_run_is_not_a_selection(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "hydra/sweeper=select", TUNE)
    assert tiny.command("train", *words) == 2
    error = capsys.readouterr().err
    assert "hydra/sweeper=select tunes and tests by a sweep" in error
    assert "add -m" in error and "Traceback" not in error
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_run_without_its_test_stands_alone(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "name=one", "towers=popularity")
    assert tiny.command("train", *words, "evaluation.test=false") == 0
    (run,) = (tmp_path / "one").glob("*/")
    assert tiny.read_json(run / "result.json")["metrics"].keys() == {"valid"}
    assert tiny.command("evaluate", str(run)) == 0
    assert tiny.command("reproduce", str(run)) == 0
    assert tiny.command("report", str(run.parent)) == 0
    assert not capsys.readouterr().err
    words = (*words, "evaluation.test=false", "data.valid_share=0")
    assert tiny.command("train", *words) == 2
    assert "evaluation.test=false" in capsys.readouterr().err
