"""Sweeps that are refused before their first run."""

import pytest
from helpers import tiny

from twotower_jax.config import from_dict
from twotower_jax.errors import InputError
from twotower_jax.sweeps.planned import (
    Planned,
    check_apart,
    check_base,
    check_metric,
    check_planned,
    evaluated_metrics,
)


def arm(*words, **keys):
    return Planned(words, from_dict(keys))


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
    check_planned(arms, "recall@20", "cold")
    with pytest.raises(InputError, match="'hot' is not an arm .* 'cold', 'warm'; nam"):
        check_planned(arms, None, "hot")
    with pytest.raises(InputError, match="base='cold' is not an arm"):
        check_planned(arms[:3][1:], None, "cold")


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
