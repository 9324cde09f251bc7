"""The decision names its best baseline, the verdict against it, and what is lacking."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.studies import Page, report, write_arm, write_queries

from twotower_jax.advice import decision
from twotower_jax.advice.progress import Progress
from twotower_jax.study.description import Description
from twotower_jax.study.load import load_study

BASELINE = {"towers": {"kind": "ease"}}
MODEL = [0.300, 0.303, 0.301]


def choice(name: str, kind: str, value: float) -> Any:
    names = SimpleNamespace(choice=kind, kind="ease" if "/" in kind else "two_tower")
    grid = SimpleNamespace(arm=SimpleNamespace(names=names))
    rest = {"fresh": (), "trials": (), "tried": "5 of 25", "point": {"l2": "5"}}
    return SimpleNamespace(grid=grid, value=value, label=name, **rest)


def decided(folder: Path, arms, valid, incomplete=None):
    """Decide on tests with these metrics, of arms with these values on validation."""
    for name, values in arms.items():
        own = {"config": BASELINE} if name != "in-batch" else {}
        write_arm(folder, name, values, **own)
    write_queries(folder)
    found = Progress(folder, tests=folder, seeds=[0, 1, 2])
    found.incomplete = incomplete or {}
    found.tested = {name: [] for name in arms}
    for name in arms:
        kind = "in_batch" if name == "in-batch" else f"baseline/{name}"
        into = found.samples if name == "in-batch" else found.baselines
        into.append(choice(name, kind, valid[name]))
    result = decision.decide(found, "recall@20", 3.0)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("rival", "shown"),
    [([0.200, 0.202, 0.201], True), ([0.298, 0.304, 0.299], False)],
)
def test_the_first_sentence_has_the_verdict_against_the_best_baseline(
    tmp_path, rival, shown
):
    """The best on test, which is not the one that validation preferred."""
    arms = {"in-batch": MODEL, "EASE": rival, "knn": [0.1, 0.101, 0.102]}
    found = decided(tmp_path, arms, {"in-batch": 0.4, "EASE": 0.2, "knn": 0.21})
    first, mean = found.sentences[0], f"{sum(rival) / 3:.4f}"
    assert f"0.3013 against {mean} of EASE, the best baseline tried, " in first
    assert "interval" in first
    assert first.startswith("No gain of in-batch over EASE is shown:") != shown
    assert ("in-batch is better than EASE" in first) == shown
    assert ("Train on in-batch negatives" in first) and found.study is not None
    assert found.study.rival == "EASE"


def test_a_baseline_that_is_better_on_test_is_named_before_the_model(tmp_path):
    """A reader who stops after the first sentence must not train the worse model."""
    arms = {"in-batch": MODEL, "EASE": [0.400, 0.402, 0.401]}
    found = decided(tmp_path, arms, {"in-batch": 0.4, "EASE": 0.2})
    first = found.sentences[0]
    assert first.startswith("EASE is better than in-batch: recall@20 on test 0.3013")
    assert first.index("Serve EASE") < first.index("train on in-batch negatives")


def test_slices_and_ndcg_are_compared_with_the_best_baseline(tmp_path):
    """The rival has more in the tail and a higher ndcg, and the decision says so."""
    whole = {"recall@20": 0.2, "recall@20/head": 0.1, "recall@20/mid": 0.2}
    metrics = whole | {"recall@20/tail": 0.9, "ndcg@20": 0.6, "coverage@20": 0.5}
    write_arm(tmp_path, "EASE", [0.2] * 3, config=BASELINE, metrics=metrics)
    found = decided(tmp_path, {"in-batch": MODEL}, {"in-batch": 0.4})
    assert found.study is not None
    given = Description(metric="recall@20", rival="EASE", tuned="by hand")
    study = load_study([tmp_path], given)
    text = decision._by_slice(study, found.choice)
    assert text.startswith(" Against EASE: head +0.5")
    for name, word in (("tail", "worse"), ("ndcg@20", "worse"), ("head", "better")):
        (part,) = (one for one in text.split("; ") if f"{name} " in one)
        assert word in part, text
    values = decision.rival_values(study)
    assert values is not None and values["name"] == "EASE"
    ours = values["differences"]["in-batch"]
    assert set(ours) == {*whole, "recall@20/tail", "ndcg@20"}
    assert ours["ndcg@20"]["verdict"] == "worse" and ours["ndcg@20"]["high"] < 0


def test_what_was_not_tried_in_full_follows_the_first_sentence(tmp_path):
    arms = {"in-batch": MODEL, "knn": [0.1, 0.101, 0.102]}
    lacking = {"EASE": "1.2 GiB of memory are free", "iALS": "1 of 25 points: no time"}
    found = decided(tmp_path, arms, {"in-batch": 0.4, "knn": 0.3}, lacking)
    assert found.sentences[1] == (
        "Not tried in full: EASE (1.2 GiB of memory are free); "
        "iALS (1 of 25 points: no time)."
    )


def test_a_choice_whose_test_failed_is_told_without_a_study():
    found = Progress(Path("advice"), seeds=[0, 1, 2])
    found.samples = [choice("in-batch", "in_batch", 0.4)]
    found.incomplete = {"test of in-batch": "it failed"}
    result = decision.decide(found, "recall@20", 3.0)
    assert result is not None and result.study is None
    assert result.sentences[1:] == [
        "Not tried in full: test of in-batch (it failed).",
        "Its test failed: on validation it has recall@20 0.4000. The same command goes "
        "on.",
    ]


def test_the_report_compares_with_the_rival_by_slice_and_in_a_figure(tmp_path):
    write_arm(tmp_path, "in-batch", MODEL)
    write_arm(tmp_path, "uniform", [0.25, 0.252, 0.251])
    write_arm(tmp_path, "EASE", [0.2, 0.202, 0.201], config=BASELINE)
    write_queries(tmp_path)
    given = {"base": "in-batch", "tuned": "by hand"}
    page = Page(report(tmp_path, **given, rival="EASE"))
    row = page.row("Against EASE", "in-batch")
    assert {"recall@20", "head", "mid", "tail", "ndcg@20"} <= set(row)
    assert row["ndcg@20"].startswith("better: +0.0502, ")
    assert "recall@20, difference to EASE" in page.figures
    assert (tmp_path / "figure_forest_rival.svg").is_file()
    again = tmp_path / "study.json"  # a later report has the rival from the file
    assert '"rival": "EASE"' in again.read_text()
    plain = Page(report(tmp_path, **given, rival="nobody"))
    assert "Against EASE" not in plain.tables
