"""The section of the report with the optimum of each arm's objective."""

import json

import pytest
from helpers.studies import Page, report, write_arm

from twotower_jax.cards.card import Card
from twotower_jax.config import from_dict, to_dict
from twotower_jax.report.html import write_report
from twotower_jax.report.objective import card_figure, objective_section, study_cards
from twotower_jax.study.load import load_study
from twotower_jax.sweeps.reports import write_reports

CARD = Card(
    slope=0.33,
    slope_target=0.33,
    on_probability=1.0,
    on_popularity=-1.0,
    constant=None,
    drift={
        "head": -1.6,
        "mid": -0.45,
        "tail": 0.4,
        "retrieved": -0.2,
        "own positives": 0,
    },
    error=0.01,
    variance=0.68,
    pairs=1024,
    items=400,
    curves={"other items": ((-7.0, 0.4), (-4.0, -2.0)), "retrieved": ((-5.0, -1.0),)},
)


@pytest.fixture
def folder(tmp_path):
    """Two arms with whole configurations, and one that no version can read."""
    for arm, loss in (("oracle", "full_softmax"), ("popular", "sampled_softmax")):
        config = to_dict(from_dict({"loss": {"name": loss}, "arm": arm}))
        config["training"]["batch_size"] = 64
        write_arm(tmp_path, arm, [0.1, 0.2], config=config)
    write_arm(tmp_path, "old", [0.3])
    write_arm(tmp_path, "EASE", [0.4], config={"towers": {"kind": "ease"}})
    return tmp_path


def test_the_section_shows_each_arm_and_its_sentence(folder):
    study = load_study([folder])
    cards = {"oracle": "a reason", "popular": CARD}
    page = Page(write_report(study, folder, cards))
    row = page.row("Objective", "popular")
    assert row["slope"] == "0.33" and row["head"] == "-1.60" and row["tail"] == "+0.40"
    assert row["variance"] == "0.68" and row["pairs per row"] == "1,024"
    assert row["optimum"] == "moved"
    text = "\n".join(objective_section(cards, ["popular", "oracle", "old"]))
    assert "log P - 1.00 log popularity" in text and "No card: a reason" in text
    assert "old" not in text


def test_no_card_no_section(folder):
    assert "<h2>Objective" not in report(folder).read_text()
    assert objective_section({"oracle": "a reason"}, ["oracle"]) == []


@pytest.mark.slow
def test_the_cards_of_a_study_are_kept_in_its_folder(folder, monkeypatch):
    computed = []

    def audit(config):
        computed.append(config.loss.name)
        return CARD

    monkeypatch.setattr("twotower_jax.cards.store.audit_arm", audit)
    cards = study_cards(load_study([folder]), folder)
    assert cards["oracle"] == cards["popular"] == CARD
    assert "cannot read its configuration" in cards["old"]
    assert cards["EASE"] == (
        "a baseline is not trained by samples and has no objective."
    )
    assert sorted(computed) == ["full_softmax", "sampled_softmax"]
    write_reports([folder])
    assert "<h2>Objective" in (folder / "report.html").read_text()
    assert len(computed) == 2  # One card per arm, read from objective.json.
    kept = json.loads((folder / "objective.json").read_text())
    assert len(kept.keys() - {"sha256"}) == 2
    write_reports([folder], objective=False)
    assert "<h2>Objective" not in (folder / "report.html").read_text()


def test_the_figure_of_a_card_has_a_line_per_group_and_hostile_names_are_text():
    drawing = card_figure("<b>&", CARD)
    assert "other items" in drawing.svg and "retrieved" in drawing.svg
    assert "<b>" not in drawing.svg and "&lt;b&gt;&amp;" in drawing.svg
