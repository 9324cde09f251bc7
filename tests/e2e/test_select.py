"""hydra/sweeper=select: arms are tuned without the test, winners tested once."""

import polars as pl
import pytest
from helpers import tiny
from helpers.selections import OWN, STUDY, TUNE

from twotower_jax.study.selection import grid_points, read_selection

ARMS = ("popularity", "uniform", "in-batch + logQ")
# Of 4, 2 and 1 points.
AXES = "hydra.sweeper.tune={optimizer.learning_rate:'0.01,0.4',training.epochs:[2]}"
# Reports without the optimum of each arm, which takes seconds.
PLAIN = "hydra.callbacks.study.objective=false"
SELECTION = ("seed=0,1", AXES, OWN, PLAIN, "hydra.sweeper.trials=3")


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
    output = tmp_path_factory.mktemp("outputs")
    return select(output, *SELECTION, "hydra.sweeper.tune_seeds=[100,101]")


def read(folder):
    selection = read_selection(folder)
    assert selection is not None
    assert [one.arm for one in selection.arms] == list(ARMS)
    return selection


def test_runs_that_choose_do_not_see_the_test(study):
    tuning = results(study / "select")
    assert len(tuning) == (1 + 3 + 2) * 2
    for name, result in tuning.items():
        assert set(result["metrics"]) == set(result["queries"]) == {"valid"}
        assert not list((study / "select" / name).glob("*.parquet"))
    for result in results(study).values():
        assert set(result["metrics"]) == {"valid", "test"}


def test_runs_that_choose_keep_no_parameters(study, capsys):
    assert not list((study / "select").glob("*/checkpoints"))
    trained = [name for name, one in results(study / "select").items() if one["steps"]]
    assert tiny.command("evaluate", str(study / "select" / trained[0])) == 2
    assert "a selection on validation do not keep" in capsys.readouterr().err
    tested = [name for name, one in results(study).items() if one["steps"]]
    assert tested == sorted(
        path.parent.parent.name for path in study.glob("*/checkpoints/*-params")
    )


def test_each_arm_has_as_many_trials_of_its_own_grid(study):
    """All points of a smaller grid, and one of an arm without a number to tune."""
    popularity, uniform, in_batch = read(study).arms
    common = {"optimizer.learning_rate": ["0.01", "0.4"], "training.epochs": ["2"]}
    assert popularity.axes == {} and in_batch.axes == common
    assert uniform.axes == common | {"negatives.easy.num": ["16", "64"]}
    for one, number in ((popularity, 1), (uniform, 3), (in_batch, 2)):
        assert [trial.point for trial in one.trials] == grid_points(one.axes, 3)
        assert len(one.trials) == number


def test_the_winner_is_the_best_on_validation(study):
    """Made again from the runs alone: configurations by arm and point."""
    found = {}
    for name, result in results(study / "select").items():
        config = (study / "select" / name / "config.yaml").read_text()
        (arm,) = (arm for arm in ARMS if f"arm: {arm}\n" in config)
        rate = "0.01" if "learning_rate: 0.01" in config else "0.4"
        number = next(n for n in (16, 64, 0) if f"num: {n}\n" in config)
        point = {"popularity": (), "uniform": (rate, "2", str(number))}
        value = result["metrics"]["valid"]["recall@20"]
        point = point.get(arm, (rate, "2"))
        found.setdefault(arm, {}).setdefault(point, []).append(value)
    for one in read(study).arms:
        assert [len(values) for values in found[one.arm].values()] == [2] * len(
            one.trials
        )
        means = {point: sum(v) / 2 for point, v in found[one.arm].items()}
        trial = one.trials[one.chosen]
        best = max(means.values())
        assert means[tuple(trial.point.values())] == trial.mean == best
        assert len(one.runs) == 2
        trained = one.arm != "popularity"
        assert len({trial.mean for trial in one.trials}) > trained


def test_winners_are_tested_with_seeds_of_their_own(study):
    selection = read(study)
    assert selection.seeds == (0, 1)
    tested = results(study)
    assert sorted(tested) == sorted(run for one in selection.arms for run in one.runs)
    assert {result["seed"] for result in tested.values()} == {0, 1}
    tuned = {result["seed"] for result in results(study / "select").values()}
    assert tuned == {100, 101} == set(selection.tune_seeds)
    for one in selection.arms:
        for run in one.runs:
            config = (study / run / "config.yaml").read_text()
            assert f"arm: {one.arm}" in config
            for key, value in one.trials[one.chosen].point.items():
                assert f"{key.rpartition('.')[2]}: {value}\n" in config


def test_the_report_has_winners_only_and_shows_the_tuning(study):
    table = pl.read_csv(study / "study.csv")
    assert set(table["run"]) == set(results(study))
    text = (study / "report.html").read_text()
    assert "<h2>Tuning</h2>" in text and "Skipped folders" not in text
    sentence = (
        "uned: 3 trials per arm on validation (in-batch + logQ all 2 of its grid), "
        "seeds 100, 101"
    )
    assert text.count(f"T{sentence}.") == 2  # the section, and above the verdicts
    assert "in-batch + logQ has its best value at the edge of its axis, opt" in text
    assert "more runs of this folder" not in text
    points = pl.read_csv(study / "select.csv")
    numbers = dict(points.group_by("arm").len().iter_rows())
    assert numbers == dict(zip(ARMS, (1, 3, 2), strict=True))
    assert not (study / "select" / "report.html").exists()


@pytest.mark.slow
def test_the_same_again_runs_nothing(study, capsys):
    before = touched(study)
    select(study.parent, *SELECTION, "hydra.sweeper.tune_seeds=[100,101]")
    assert touched(study) == before
    shown = capsys.readouterr().out
    assert shown.count("finished before") == len(before) == 18
    assert "tuning: 12 runs on validation, then 6 of the chosen points on" in shown
    assert "(run 12 of 12)" in shown and "(run 6 of 6)" in shown


@pytest.mark.slow
def test_one_more_seed_makes_the_runs_of_that_seed(study):
    before = touched(study)
    words = ("seed=0,1,2", *SELECTION[1:], "hydra.sweeper.tune_seeds=[100,101]")
    select(study.parent, *words)
    after = touched(study)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 3  # a run of each arm


@pytest.mark.slow
def test_the_choices_are_carried_to_another_world(study, tmp_path, capsys):
    """Without any run on validation there, and for some of the arms."""
    words = ("arms=in_batch_logq,uniform", "data.simulator.seed=5", "seed=0,1")
    for place in (study, study / "select.json"):
        words = (*words, f"hydra.sweeper.selection={place}")
        folder = select(tmp_path, *words)
    assert not (folder / "select").exists() and len(results(folder)) == 4
    found, source = read_selection(folder), read(study)
    assert found is not None and found.source == str(study / "select.json")
    assert found.tune_seeds == source.tune_seeds and found.seeds == (0, 1)
    for one, tuned in zip(found.arms, source.arms[:0:-1], strict=True):
        assert (one.arm, one.trials, one.chosen) == (
            tuned.arm,
            tuned.trials,
            tuned.chosen,
        )
        for run in one.runs:
            config = (folder / run / "config.yaml").read_text()
            for key, value in tuned.trials[tuned.chosen].point.items():
                assert f"{key.rpartition('.')[2]}: {value}\n" in config
    text = (folder / "report.html").read_text()
    assert text.count(f"seeds 100, 101, in {study / 'select.json'}.") == 2
    assert "tuning:" not in capsys.readouterr().out


@pytest.mark.slow
def test_an_arm_without_settings_to_carry_is_refused(study, tmp_path, capsys):
    """As are settings that the study sets too, and files that are not there."""
    carry = f"hydra.sweeper.selection={study}"
    for words, parts in (
        (
            ("arms=uniform,half_hard", carry),
            ["no arm 'in-batch + logQ + half hard'", "'uniform'"],
        ),
        (
            (carry, "training.epochs=3"),
            ["training.epochs is tuned by", "leave one out"],
        ),
        ((carry, "seed=0,101"), ["tune_seeds=[100, 101]", "share [101]"]),
        (
            (f"hydra.sweeper.selection={tmp_path}",),
            ["there is no", "select.json; name"],
        ),
    ):
        select(tmp_path, *words, status=2)
        error = capsys.readouterr().err
        assert error.count("error: ") == 1 and all(part in error for part in parts), (
            error
        )
    assert not list(tmp_path.rglob("config.yaml")) + list(tmp_path.rglob("*.json"))


@pytest.mark.slow
def test_arms_are_tuned_side_by_side(tmp_path):
    """The seed of the test comes by default, and so do the three of the tuning."""
    words = (TUNE, "hydra.sweeper.trials=2", "arms=popularity,in_batch_logq")
    folder = select(tmp_path, *words, "hydra/launcher=fused")
    selection = read_selection(folder)
    assert selection is not None and selection.seeds == (0,)
    assert selection.tune_seeds == (100, 101, 102)
    assert len(results(folder / "select")) == 9 and len(results(folder)) == 2
    sentence = "Tuned: 2 trials per arm on validation, seeds 100, 101, 102."
    assert (folder / "report.html").read_text().count(sentence) == 2


@pytest.mark.slow
def test_baselines_are_tuned_too(tmp_path, capsys):
    """Each by axes of its own; one that the data are too large for is left out."""
    small = ("baselines=true", "baseline.ease.max_size=10", "hydra.sweeper.trials=2")
    words = (TUNE, *small, "arms=baseline/popularity,in_batch_logq", "seed=0")
    folder = select(tmp_path, *words)
    selection = read_selection(folder)
    assert selection is not None
    found = {one.arm: (len(one.trials), set(one.axes)) for one in selection.arms}
    assert found == {
        "popularity": (1, set()),
        "in-batch + logQ": (2, {"optimizer.learning_rate", "training.epochs"}),
        "item-kNN": (2, {"baseline.item_knn.neighbours", "baseline.item_knn.shrink"}),
        "iALS": (2, {"baseline.ials.l2", "baseline.ials.unobserved_weight"}),
    }
    assert "baseline left out: " in capsys.readouterr().out
    assert len(results(folder)) == 4
    text = (folder / "report.html").read_text()
    assert "Tuned: 2 trials per arm on validation, seeds 100, 101, 102." in text


def unsized(output, sizes):
    """Run a selection of the batch size, with one seed; return status and folder."""
    study = [word for word in STUDY if not word.startswith("training.batch_size")]
    words = ("arms=in_batch_logq", "hydra.sweeper.tune_seeds=[5]", f"output={output}")
    tune = f"hydra.sweeper.tune={{training.batch_size:{sizes}}}"
    return tiny.command(*study, *words, tune), output / "study"


@pytest.mark.slow
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
