"""Sweeps that are refused before their first run."""

import pytest
from helpers import tiny
from helpers.studies import Page

from twotower_jax.config import from_dict
from twotower_jax.errors import InputError
from twotower_jax.study.description import Description
from twotower_jax.sweeps.planned import (
    check_apart,
    check_base,
    check_metric,
    check_planned,
    evaluated_metrics,
)


def arm(*words, **keys):
    return words, from_dict(keys)


def test_one_configuration_in_two_forms_of_words():
    """Two jobs in one folder would write over each other."""
    ours, theirs = arm("negatives=in_batch", "a=1"), arm("arms=in_batch", "a=1")
    message = "^negatives=in_batch and arms=in_batch are one configuration; leave one"
    with pytest.raises(InputError, match=message):
        check_apart([ours, theirs])
    check_apart([ours, arm("arms=in_batch", loss={"temperature": 0.2})])


def test_folders_are_looked_at_one_by_one(tmp_path):
    """Data may differ between folders, and each needs the base arm."""
    keys = [
        {"output": str(tmp_path), "name": name, "data": {"test_share": share}}
        for name, share in (("a", 0.1), ("b", 0.2))
    ]
    arms = [
        arm(f"{one['name']} {label}", **one, arm=label, loss={"temperature": t})
        for one in keys
        for label, t in (("cold", 0.1), ("warm", 0.2))
    ]
    cold, hot = (Description(metric="recall@20", base=one) for one in ("cold", "hot"))
    assert check_planned(arms, cold) == []
    with pytest.raises(InputError, match="'hot' is not an arm .* 'cold', 'warm'; nam"):
        check_planned(arms, hot)
    with pytest.raises(InputError, match="base='cold' is not an arm"):
        check_planned(arms[:3][1:], cold)
    assert check_planned(arms[:3][1:], cold, whole=False) == []


def test_arms_without_a_control_are_named_before_they_train(tmp_path):
    keys = {"output": str(tmp_path), "name": "a"}
    half = {"easy": {"num": 4}, "hard": {"num": 4}}
    arms = [
        arm("plain", **keys, arm="plain"),
        arm("half", **keys, arm="half", negatives=half),
    ]
    (warning,) = check_planned(arms, Description(base="plain"))
    assert warning.startswith("half has no control: it differs from the nearest arm, p")
    none = {"easy": {"num": 8}}
    arms.append(arm("none", **keys, arm="none", negatives=none))
    assert check_planned(arms, Description(base="plain")) == []


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("margin=2", "hydra.callbacks.study.margin=2.0 is out of range; give a value"),
        ("controls={uniform: hot}", "study.controls='hot' is not an arm of this study"),
        ("controls={uniform: uniform}", "'uniform' cannot be its own control"),
        ("controls=uniform", "study.controls='uniform' has the wrong type; give keys"),
    ],
)
def test_a_description_that_cannot_be_is_refused_before_any_run(
    tmp_path, capsys, word, part
):
    words = (*tiny.SMALL, f"output={tmp_path}", "name=none", "arms=uniform,in_batch")
    assert tiny.command("train", "-m", *words, f"hydra.callbacks.study.{word}") == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and part in error and "Traceback" not in error
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_sweep_names_arms_without_a_control_and_goes_on(tmp_path, capsys):
    words = (*tiny.SMALL, f"output={tmp_path}", "name=two", "training.steps=4")
    study = "hydra.callbacks.study"
    words = (*words, "arms=in_batch,half_hard", "seed=0", f"{study}.base=in-batch")
    words = (*words, f"{study}.tuned=by hand", f"{study}.margin=0.05")
    assert tiny.command("train", "-m", *words) == 0
    shown = capsys.readouterr().out
    name = "in-batch + logQ + half hard"
    warning = f"warning: {name} has no control: it differs from the nearest"
    assert shown.index(warning) < shown.index(", seed 0: test recall@20")
    page = Page(tmp_path / "two/report.html")
    (row,) = (row for row in page.tables["Controls"][0][1:] if row[0] == name)
    assert row[1:3] == ["none", "-"]
    keys = page.tables["Keys of the controls"][0][1:]
    (row,) = (row for row in keys if row[0] == name)
    assert row[1].startswith("3 choices from in-batch: ")
    assert "Tuned: by hand" in page.texts["Study two"]
    assert tiny.read_json(tmp_path / "two/study.json")["margin"] == 0.05
    # The report of another margin, and of arms with a declared control.
    assert tiny.command("report", str(tmp_path / "two"), "--margin", "0.1") == 0
    assert tiny.read_json(tmp_path / "two/study.json")["margin"] == 0.1
    assert tiny.command("report", str(tmp_path / "two"), "--margin", "1.5") == 2
    assert "--margin=1.5 is not a share" in capsys.readouterr().err


@pytest.mark.parametrize("auc", [[], ["uniform", "retrieved"]])
@pytest.mark.parametrize(("truth", "shown"), [(True, 0), (True, 20), (False, 0)])
def test_the_metrics_are_those_of_a_run(auc, truth, shown, tmp_path):
    words = [f"evaluation.auc={auc}".replace("'", ""), f"evaluation.truth={truth}"]
    words += [f"evaluation.uniform_exposures={shown}", "evaluation.k=[5,20]"]
    words += [f"output={tmp_path}", "towers=popularity"]
    assert tiny.command("train", *tiny.SMALL, *words) == 0
    (path,) = tmp_path.glob("simulator/*/result.json")
    evaluation = {
        "auc": auc,
        "truth": truth,
        "uniform_exposures": shown,
        "k": [5, 20],
    }
    metrics = evaluated_metrics(from_dict({"evaluation": evaluation}))
    assert sorted(metrics) == sorted(tiny.read_json(path)["metrics"]["test"])
    assert len(metrics) == len(set(metrics))


def test_a_metric_that_some_arm_has_is_one_of_the_study():
    plain, rival = (from_dict({"evaluation": {"auc": a}}) for a in ([], ["uniform"]))
    check_metric("auc@uniform", [plain, rival])
    check_metric(None, [plain])
    with pytest.raises(InputError, match="='auc@uniform' is not among the metrics"):
        check_metric("auc@uniform", [plain])


def test_the_nearest_arm_is_named():
    with pytest.raises(InputError, match="did you mean in-batch"):
        check_base("in batch", ["in-batch", "uniform"])
    check_base(None, ["uniform"])
