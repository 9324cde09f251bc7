"""The warnings at the head of a study."""

import numpy as np
import polars as pl
import pytest
from helpers.run_folders import write_run

from twotower_jax.study.cautions import arm_marks, cautions, lost_to_baseline
from twotower_jax.study.description import Description
from twotower_jax.study.load import load_study

POPULARITY, EASE = ({"towers": {"kind": kind}} for kind in ("popularity", "ease"))
FULL = {"loss": {"name": "full_softmax"}}


def study(folder, arms, seeds=3, spread=0.0, **given):
    """Load a study of arms with values per query: {name: (config, mean)}.

    The values of all arms vary alike, and by `spread` each in its own way.
    """
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.001, 40)
    for name, (config, mean) in arms.items():
        own = rng.normal(0, 1, 40)
        noise = shared + spread * (own - own.mean())
        for seed in range(seeds):
            metrics = {"recall@20": mean, "gini@20": mean}
            path = write_run(
                folder / f"{name}{seed}", {"arm": name, **config}, seed, metrics
            )
            table = pl.DataFrame({"user": range(40), "recall@20": mean + noise})
            table.write_parquet(path / "queries.parquet")
    return load_study([folder], Description(**{"tuned": "here", **given}))


ARMS = {"in-batch": ({}, 0.2), "once": ({"negatives": {"mask": "none"}}, 0.1)}


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ({}, ""),
        ({"clicks": (POPULARITY, 0.15)}, ""),
        (
            {"clicks": (POPULARITY, 0.25)},
            "Every arm loses to a baseline: clicks has recall@20 0.2500, and the best "
            "arm, in-batch, 0.2000. The study compares models that nobody would serve.",
        ),
        ({"clicks": (POPULARITY, 0.1), "full": (FULL, 0.3)}, ""),
    ],
)
def test_a_study_in_which_every_arm_loses_to_a_baseline(tmp_path, others, text):
    made = study(tmp_path, ARMS | others)
    assert lost_to_baseline(made) == text
    assert cautions(made)[:1] == ([text] if text else [])


def test_a_baseline_that_is_not_shown_to_be_better(tmp_path):
    made = study(tmp_path, ARMS | {"clicks": (POPULARITY, 0.21)}, spread=0.1)
    text, between = lost_to_baseline(made).split(" (")
    assert text == (
        "No arm is shown to be better than a baseline: clicks has recall@20 0.2100, "
        "and the best arm, in-batch, 0.2000"
    )
    difference, low, high = between.rstrip(").").replace(" to ", ", ").split(", ")
    assert difference == "-0.0100"
    assert float(low) < -0.01 < 0 < float(high) < 0.1


def test_the_best_baseline_counts_and_smaller_may_be_better(tmp_path):
    others = {"clicks": (POPULARITY, 0.05), "ease": (EASE, 0.3)}
    made = study(tmp_path, ARMS | others, metric="gini@20")
    assert lost_to_baseline(made).startswith(
        "Every arm loses to a baseline: clicks has"
    )


def test_baselines_alone_lose_to_nobody(tmp_path):
    arms = {"clicks": (POPULARITY, 0.1), "ease": (EASE, 0.3)}
    assert lost_to_baseline(study(tmp_path, arms)) == ""


def test_a_clean_study_has_no_warning(tmp_path):
    made = study(tmp_path, ARMS | {"clicks": (POPULARITY, 0.05)})
    assert cautions(made) == []
    assert arm_marks(made, ["clicks", "once"]) == {"clicks": "baseline", "once": ""}
    assert made.controls["once"].control == "in-batch"
    assert set(made.controls) == {"once"}


def test_each_fault_has_a_sentence(tmp_path):
    half = {"negatives": {"easy": {"num": 4}, "hard": {"num": 4}}}
    arms = ARMS | {"half hard": (half, 0.2), "full": (FULL, 0.2)}
    made = study(tmp_path, arms, seeds=2, tuned=None, base="in-batch")
    untuned, control, seeds = cautions(made)
    assert untuned.startswith("Untuned. Differences of arms that")
    assert control.startswith("half hard has no control: it differs from the nearest")
    assert seeds.startswith("Too few seeds for a verdict, which needs 3")
    assert set(made.controls) == {"half hard", "once"}
    assert arm_marks(made, ["full"]) == {"full": "oracle"}


def test_a_declared_control_without_a_run_is_left_out(tmp_path):
    made = study(tmp_path, ARMS, base="in-batch", controls={"once": "gone"})
    assert made.controls["once"].control == "in-batch"


def test_other_tuned_values_than_those_of_the_control_are_named(tmp_path):
    """Only beside a verdict, and not for a key that is the choice itself."""
    slots = {"negatives": {"in_batch": True, "easy": {"num": 64}}}
    arms = {
        "in-batch": (
            {"negatives": {"in_batch": True}, "loss": {"temperature": 0.2}},
            0.1,
        ),
        "slots": ({**slots, "loss": {"temperature": 0.14}}, 0.2),
    }
    (line,) = [one for one in cautions(study(tmp_path, arms)) if "Tuning chose" in one]
    assert "temperature 0.14, control 0.2" in line
    arms["slots"] = ({**slots, "loss": {"temperature": 0.2}}, 0.2)
    same = study(tmp_path / "same", arms)
    assert not any("Tuning chose" in one for one in cautions(same))


def test_another_number_of_negatives_than_the_control_is_named(tmp_path):
    slots = {"in_batch": False, "layout": "per_row", "easy": {"num": 8}}
    arms = {
        "in-batch": ({"training": {"batch_size": 1024}}, 0.2),
        "slots": ({"training": {"batch_size": 1024}, "negatives": slots}, 0.1),
    }
    (text,) = [one for one in cautions(study(tmp_path, arms)) if "numbers" in one]
    assert "slots 8 against 1,023 of in-batch" in text
    equal = {"in-batch": arms["in-batch"], "once": ({"training": {"batch_size": 1024},
             "negatives": {"mask": "none"}}, 0.1)}  # fmt: skip
    folder = tmp_path / "equal"
    folder.mkdir()
    assert not any("numbers of neg" in one for one in cautions(study(folder, equal)))
