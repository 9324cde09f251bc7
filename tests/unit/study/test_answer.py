"""The answer of a study in one sentence."""

import numpy as np
import polars as pl
from helpers.run_folders import write_run

from twotower_jax.study.answer import answer, best_arm
from twotower_jax.study.description import Description
from twotower_jax.study.load import load_study

EASE, FULL = {"towers": {"kind": "ease"}}, {"loss": {"name": "full_softmax"}}
WARM, COLD = ({"loss": {"temperature": one}} for one in (0.2, 0.05))


def study(folder, arms, **given):
    """Load a study of arms with values per query and seed: {name: (config, mean)}."""
    rng = np.random.default_rng(0)
    for name, (config, mean) in arms.items():
        for seed in range(3):
            noise = rng.normal(0, 0.001, 40)
            keys, metrics = {"arm": name, **config}, {"recall@20": mean}
            path = write_run(folder / f"{name}{seed}", keys, seed, metrics)
            table = pl.DataFrame({"user": range(40), "recall@20": mean + noise})
            table.write_parquet(path / "queries.parquet")
    return load_study([folder], Description(**{"tuned": "here", "base": "a", **given}))


def test_the_better_arm_is_chosen_by_its_gain_and_interval(tmp_path):
    text = answer(study(tmp_path, {"a": ({}, 0.2), "b": (WARM, 0.25)}))
    start = "Choose b: its recall@20 is 25.0 % above a. The difference is +0.0498 (95 %"
    assert text.startswith(f"{start} interval +0.0494 to ") and text.endswith(").")


def test_baselines_and_the_oracle_are_no_answer(tmp_path):
    arms = {"a": ({}, 0.2), "b": (WARM, 0.25), "e": (EASE, 0.9), "f": (FULL, 0.8)}
    text = answer(study(tmp_path, arms))
    assert text.startswith("Choose b: ") and "e:" not in text and "f:" not in text


def test_a_base_that_no_arm_beats(tmp_path):
    arms = {"a": ({}, 0.2), "b": (WARM, 0.1)}
    text = "Keep a: no other choice has a better recall@20. Worse than a: b."
    assert answer(study(tmp_path / "1", arms)) == text
    arms["c"] = (COLD, 0.1995)
    found = answer(study(tmp_path / "2", arms, margin=0.001))
    assert found == f"{text} Not told apart from a: c."


def test_without_a_verdict_the_settings_are_named(tmp_path):
    arms = {"a": ({}, 0.2), "b": (WARM, 0.1), "c": (COLD, 0.25)}
    text = answer(study(tmp_path, arms, tuned=None))
    assert text.startswith("No verdict yet (untuned). At these settings c has the best")
    assert text.endswith(" At these settings worse than a: b.")


def test_a_sweep_over_a_number_is_compared_with_its_lowest_value(tmp_path):
    arms = {"b": (WARM, 0.25), "c": (COLD, 0.2)}
    found = study(tmp_path, arms, base=None)
    assert found.base == "c" and found.one_number == "loss.temperature"
    assert answer(found).startswith("Choose b: its recall@20 is 25.0 % above c.")


def test_without_a_base_arm_the_best_is_named_alone(tmp_path):
    arms = {"b": (WARM | {"towers": {"dim": 4}}, 0.25)}
    arms["c"] = (COLD | {"towers": {"dim": 3}}, 0.2)
    found = study(tmp_path, arms, base=None)
    assert answer(found) == (
        "b has the best recall@20, 0.2500; there is no base arm to compare it to."
    )
    assert found.comparison.is_empty() and found.missing_base.startswith("No base arm")


def test_a_described_answer_is_kept_and_one_arm_has_none(tmp_path):
    arms = {"a": ({}, 0.2), "b": (WARM, 0.1)}
    assert answer(study(tmp_path / "1", arms, answer="Take b.")) == "Take b."
    assert answer(study(tmp_path / "2", {"a": ({}, 0.2)})) == ""


def test_the_best_arm_is_one_that_all_others_are_worse_than(tmp_path):
    arms = {"a": ({}, 0.2), "b": (WARM, 0.25), "e": (EASE, 0.9), "f": (FULL, 0.8)}
    assert best_arm(study(tmp_path / "1", arms)) == "b"
    assert best_arm(study(tmp_path / "2", arms, base="b")) == "b"
    # The largest mean is not told apart from another arm, though both beat the base.
    arms["c"] = (COLD, 0.25001)
    assert best_arm(study(tmp_path / "3", arms)) is None
    assert best_arm(study(tmp_path / "4", {"a": ({}, 0.2), "b": (WARM, 0.1)})) == "a"
    assert best_arm(study(tmp_path / "5", {"a": ({}, 0.2)})) is None


def test_arms_that_were_not_tuned_have_no_best_one(tmp_path):
    arms = {"a": ({}, 0.2), "b": (WARM, 0.25)}
    assert best_arm(study(tmp_path, arms, tuned=None)) is None
