"""Whether the arms of a study count as tuned alike."""

from pathlib import Path

import pytest
from helpers.run_folders import write_run

from twotower_jax.study.comparison import pair_arms
from twotower_jax.study.runs import read_runs
from twotower_jax.study.selection import ArmChoice, Selection, Trial, write_selection
from twotower_jax.study.tables import study_table
from twotower_jax.study.tuning import TUNED_KEYS, study_tuning

AXES = {
    "loss.temperature": ["0.1", "0.2", "0.3"],
    "optimizer.learning_rate": ["1", "2", "3", "4"],
}


def write_arm(folder: Path, arm: str, kind: str = "two_tower") -> tuple[str, ...]:
    """Write two runs of an arm and return their names."""
    config = {"arm": arm, "loss": {"x": arm}, "towers": {"kind": kind}}
    names = [f"{arm}{seed}" for seed in (0, 1)]
    for seed, name in enumerate(names):
        write_run(folder / name, config, seed, {"recall@20": 0.1})
    return tuple(names)


def select(
    folder: Path, arms: dict[str, tuple[tuple[str, ...], int]], own=None, **options
) -> None:
    """Write a selection of arms with their runs, numbers of trials and own axes."""
    choices = [
        ArmChoice(
            arm, (own or {}).get(arm, AXES), (Trial({}, (0.1,)),) * trials, 0, runs
        )
        for arm, (runs, trials) in arms.items()
    ]
    seeds = options.pop("tune_seeds", (100,))
    found = Selection("recall@20", seeds, (0, 1), tuple(choices), **options)
    write_selection(found, folder)


def tuning(folder: Path, declared: str | None = None):
    runs = read_runs(folder)
    return study_tuning(runs, pair_arms(runs, study_table(runs), []).arms, declared)


def test_a_study_without_a_selection_is_untuned(tmp_path):
    for arm in ("one", "two"):
        write_arm(tmp_path, arm)
    assert tuning(tmp_path)[:3] == ("Untuned.", {"one": 0, "two": 0}, ())


def test_a_study_may_name_the_place_of_its_tuning(tmp_path):
    write_arm(tmp_path, "one")
    expected = ("Tuned: 24 trials in study X", None, TUNED_KEYS)
    assert tuning(tmp_path, "24 trials in study X")[:3] == expected


def test_arms_with_as_many_trials_are_tuned_alike(tmp_path):
    runs = {arm: (write_arm(tmp_path, arm), 12) for arm in ("one", "two")}
    write_arm(tmp_path, "clicks", "popularity")  # has nothing to tune
    select(tmp_path, runs)
    text = "Tuned: 12 trials per arm on validation, seeds 100."
    found = tuning(tmp_path)
    assert found[:3] == (text, {"one": 12, "two": 12}, tuple(AXES))
    assert found.tuned and found.alike("one", "two") and found.alike("one", "clicks")


@pytest.mark.parametrize("trials", [2, 1])
def test_a_grid_smaller_than_the_limit_is_tried_whole(tmp_path, trials):
    """EASE has one number. An arm with part of its grid was not tuned alike."""
    runs = {"one": (write_arm(tmp_path, "one"), 12)}
    runs["ease"] = (write_arm(tmp_path, "ease"), trials)
    runs["clicks"] = (write_arm(tmp_path, "clicks"), 1)
    own = {"ease": {"l2": ["1", "2"]}, "clicks": {}}
    select(tmp_path, runs, own, limit=12, source="other/select.json")
    found = tuning(tmp_path)
    assert found.tuned == found.alike("one", "ease") == (trials == 2)
    assert found.alike("one", "clicks") and "clicks" not in (found.trials or {})
    texts = {
        2: "Tuned: 12 trials per arm on validation (ease all 2 of its grid), "
        "seeds 100, in other/select.json.",
        1: "Tuned: trials ease 1, one 12 on validation, seeds 100.",
    }
    assert found.text == texts[trials]


def test_whole_grids_of_other_sizes_without_a_limit_are_not_alike(tmp_path):
    runs = {"one": (write_arm(tmp_path, "one"), 12)}
    runs["two"] = (write_arm(tmp_path, "two"), 2)
    select(tmp_path, runs, {"two": {"loss.temperature": ["1", "2"]}})
    found = tuning(tmp_path)
    assert not found.alike("one", "two") and found.trials == {"one": 12, "two": 2}


@pytest.mark.parametrize(
    ("trials", "text"),
    [
        (
            (12, 0),
            "Tuned: 12 trials per arm on validation, seeds 100. Untuned: two.",
        ),
        ((12, 6), "Tuned: trials one 12, two 6 on validation, seeds 100."),
    ],
)
def test_arms_with_other_numbers_of_trials_are_not(tmp_path, trials, text):
    runs = {arm: write_arm(tmp_path, arm) for arm in ("one", "two")}
    select(tmp_path, {
        arm: (ones, number)
        for (arm, ones), number in zip(runs.items(), trials, strict=True) if number
    })  # fmt: skip
    found = tuning(tmp_path)
    assert not found.tuned and found.text == text
    assert not found.alike("one", "two")


def test_a_run_that_no_selection_chose_makes_its_arm_untuned(tmp_path):
    one, two = write_arm(tmp_path, "one"), write_arm(tmp_path, "two")
    select(tmp_path, {"one": (one, 12), "two": (two[:1], 12)})
    assert tuning(tmp_path).trials == {"one": 12, "two": 0}


def test_arms_beside_an_untuned_one_may_be_tuned_alike(tmp_path):
    """Baselines at their defaults take no verdict from the others."""
    runs = {arm: (write_arm(tmp_path, arm), 12) for arm in ("one", "two")}
    write_arm(tmp_path, "EASE", "ease")
    select(tmp_path, runs)
    found = tuning(tmp_path)
    assert not found.tuned and found.text.endswith("Untuned: EASE.")
    assert found.alike("one", "two") and not found.alike("one", "EASE")


def trial(temperature: str, value: float) -> Trial:
    return Trial({"loss.temperature": temperature}, (value,) * 3)


@pytest.mark.parametrize(
    ("seeds", "chosen", "source", "fault"),
    [
        ((100, 101, 102), 1, None, ""),
        ((100, 101), 1, None, "tuned with fewer than 3 seeds"),
        ((100, 101, 102), 2, None, "at the end of its grid"),
        ((100, 101, 102), 1, "other/select.json", "settings carried over"),
    ],
)
def test_settings_that_are_not_settled_have_no_verdict(
    tmp_path, seeds, chosen, source, fault
):
    texts = ["0.1", "0.2", "0.3"]
    values = [0.1, 0.2, 0.1]
    values[chosen] = 0.3
    trials = tuple(map(trial, texts, values))
    inner = (trials[0], trial("0.2", 0.9), trials[2])
    axes = {"loss.temperature": texts}
    choices = (
        ArmChoice("one", axes, trials, chosen, write_arm(tmp_path, "one")),
        ArmChoice("two", axes, inner, 1, write_arm(tmp_path, "two")),
    )
    write_selection(
        Selection("recall@20", seeds, (0, 1), choices, None, source), tmp_path
    )
    assert tuning(tmp_path).withheld("one", "two") == fault
    assert tuning(tmp_path).withheld("two", "one") == fault


def test_a_baseline_without_a_seed_is_settled_by_one_trial_seed(tmp_path):
    axes = {"loss.temperature": ["0.1", "0.2", "0.3"]}
    trials = tuple(map(trial, axes["loss.temperature"], (0.1, 0.3, 0.1)))
    runs = write_arm(tmp_path, "EASE", "ease"), write_arm(tmp_path, "kNN", "item_knn")
    choices = tuple(ArmChoice(str(i), axes, trials, 1, r) for i, r in enumerate(runs))
    write_selection(Selection("recall@20", (100,), (0, 1), choices), tmp_path)
    assert tuning(tmp_path).withheld("EASE", "kNN") == ""


def test_runs_of_an_earlier_choice_are_left_out(tmp_path):
    """An arm that is tuned again may choose another point: its old runs stay there."""
    runs = write_arm(tmp_path, "one")
    write_run(
        tmp_path / "before", {"arm": "one", "loss": {"x": 5}}, 0, {"recall@20": 1}
    )
    write_arm(tmp_path, "other")
    select(tmp_path, {"one": (runs, 3)})
    found = read_runs(tmp_path)
    assert {run.name for run in found.finished} == {*runs, "other0", "other1"}
    assert found.skipped == [("before", "not among the runs of one in select.json")]
