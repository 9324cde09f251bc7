"""Marks and warnings of arms that were not trained enough, or not alike."""

from pathlib import Path

import pytest

from twotower_jax.study.runs import Run
from twotower_jax.study.trained import training_mark, training_warnings


def run(seed=0, *, steps=100, best=50, stopped=None, config=None, valid=True) -> Run:
    """Return a run with the parts of result.json that marks read."""
    metrics = {"test": {"recall@20": 0.1}, **({"valid": {"m": 1}} if valid else {})}
    result = {"metrics": metrics, "steps": steps, "best_step": best}
    if stopped:
        result["stopped"] = stopped
    return Run(Path("x"), "x", seed, config or {}, {}, result)


PATIENT = {"training": {"patience": 3}}
FITTED = {"data": {"fit_valid": True}}
POPULARITY = {"towers": {"kind": "popularity"}}


@pytest.mark.parametrize(
    ("runs", "mark"),
    [
        ([run(best=100), run(best=100), run(best=50)], "still learning"),
        ([run(best=100), run(best=50)], "still learning"),
        ([run(best=100), run(best=50), run(best=50)], ""),
        # Without validation the best step is the last one, which shows nothing.
        ([run(best=100, valid=False)], ""),
        ([run(best=0, steps=0)], ""),
        ([run(steps=0, best=0, config=POPULARITY)], "baseline"),
        ([run(best=70, stopped="patience", config=PATIENT)], ""),
        ([run(best=70, stopped="limit", config=PATIENT)], "at its limit"),
        ([run(best=100, stopped="limit", config=PATIENT)], "still learning"),
        ([run(best=70, stopped="limit")], ""),
        ([run(best=70, stopped="limit", config={"training": {"patience": 0}})], ""),
        # A run of an earlier version does not state why it ended.
        ([run(best=70, config=PATIENT)], ""),
    ],
)
def test_mark_of_an_arm(runs, mark):
    assert training_mark(runs) == mark


def test_arms_that_still_learn_are_listed():
    arms = {"slow": {0: run(best=100)}, "done": {0: run()}, "also": {0: run(best=100)}}
    (line,) = training_warnings(arms, {})
    assert line.startswith(
        "Still learning, with the best validation at the last step: "
    )
    assert "slow, also. " in line and "done" not in line


def test_unequal_steps_are_stated_with_both_numbers():
    arms = {"base": {0: run(steps=1139)}, "down": {0: run(steps=693)}}
    (line,) = training_warnings(arms, {"down": "base"})
    assert "down trained 693 steps against 1,139 of base" in line


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"steps": 1000}, {"steps": 1005}, True),
        ({"steps": 1000}, {"steps": 1100}, False),
        # Each to its own stop by the same patience.
        (
            {"steps": 400, "stopped": "patience", "config": PATIENT},
            {"steps": 900, "stopped": "patience", "config": PATIENT},
            True,
        ),
        (
            {"steps": 400, "stopped": "patience", "config": PATIENT},
            {
                "steps": 900,
                "stopped": "patience",
                "config": {"training": {"patience": 9}},
            },
            False,
        ),
        (
            {"steps": 400, "stopped": "patience", "config": PATIENT},
            {"steps": 900, "stopped": "limit", "best": 1, "config": {}},
            False,
        ),
        ({"steps": 1000}, {"steps": 0, "config": POPULARITY}, True),
        # Nothing ends a run that trains on the valid part: steps were chosen before.
        (
            {"steps": 400, "config": FITTED, "valid": False},
            {"steps": 900, "config": FITTED, "valid": False},
            True,
        ),
        ({"steps": 400, "config": FITTED}, {"steps": 900, "config": {}}, False),
    ],
)
def test_steps_are_alike(one, other, alike):
    arms = {"one": {0: run(**one)}, "other": {0: run(**other)}}
    lines = training_warnings(arms, {"one": "other"})
    assert [line for line in lines if "Not trained alike" in line] == lines
    assert not lines if alike else lines
