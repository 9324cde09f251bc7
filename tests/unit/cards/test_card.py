"""The card of an arm: its numbers, its words, and how it is stored."""

import dataclasses
import json

import numpy as np
import pytest
from helpers.problems import configure

from twotower_jax.cards.arm import small_arm
from twotower_jax.cards.card import Card, audit_arm, from_json, to_json
from twotower_jax.cards.store import card_key, find_cards
from twotower_jax.cards.words import card_lines, gradient_sentence, optimum_sentence
from twotower_jax.errors import InputError

FULL = configure(loss__name="full_softmax", training__batch_size=256)
POPULAR = configure(loss__logq__correct="none", training__batch_size=256)


@pytest.fixture(scope="module")
def full():
    return audit_arm(FULL)


@pytest.fixture(scope="module")
def popular():
    return audit_arm(POPULAR)


def test_the_full_softmax_is_the_unit_of_every_number(full):
    """Its optimum is log P, its variance is 1, and it scores every item."""
    assert full.slope == pytest.approx(1, abs=1e-3)
    assert max(map(abs, full.drift.values())) < 1e-2
    assert full.variance == pytest.approx(1, abs=0.1)
    assert full.pairs == full.items == full.break_even / full.variance
    assert not full.moved and full.constant is None
    assert "is log P:" in optimum_sentence(full)


def test_uncorrected_in_batch_negatives_lose_the_popularity(popular):
    assert popular.on_probability == pytest.approx(1, abs=0.03)
    assert popular.on_popularity == pytest.approx(-1, abs=0.03)
    assert popular.moved and popular.drift["head"] < -1 < 0.3 < popular.drift["tail"]
    text = optimum_sentence(popular)
    assert "1.00 log P - 1.00 log popularity" in text
    assert "head items move by -1." in text and "tail items move by +0." in text


def test_the_curve_holds_all_items_in_two_groups(popular):
    assert set(popular.curves) == {"other items", "retrieved"}
    for curve in popular.curves.values():
        x = [point[0] for point in curve]
        assert x == sorted(x)
    # Every tenth of the items but the least clicked: popular items move down.
    assert popular.curves["other items"][-1][1] < popular.curves["other items"][0][1]


def test_a_card_survives_json(popular):
    assert from_json(json.loads(json.dumps(to_json(popular)))) == popular


@pytest.mark.slow
def test_bce_has_a_constant_and_a_softmax_has_none():
    """Log odds of 8 uniform draws from 400 items: log P - log(8 / 400)."""
    card = audit_arm(
        configure(
            loss__name="bce",
            loss__ratio=None,
            negatives__in_batch=False,
            negatives__layout="per_row",
            negatives__easy__num=8,
            training__batch_size=256,
        )
    )
    assert card.constant == pytest.approx(-np.log(8 / 400), abs=0.05)
    assert not card.moved


@pytest.mark.slow
def test_resampled_positives_are_compared_with_log_p_plus_log_w():
    keys = {"positives__strategy": "upsample_cold", "training__batch_size": 256}
    card = audit_arm(configure(**keys))
    assert card.resampled and not card.moved
    assert card.slope < 0.9 and card.slope_target == pytest.approx(1, abs=0.03)
    back = audit_arm(configure(**keys, positives__reweight=True))
    assert not back.resampled and back.slope == pytest.approx(1, abs=0.03)


def test_a_score_without_bound_is_named_as_such(full):
    far = dataclasses.replace(full, drift=full.drift | {"retrieved": -14.0})
    assert "retrieved items move down without bound" in optimum_sentence(far)
    # A slope alone can move as well.
    steep = dataclasses.replace(full, slope_target=1.06, on_probability=1.06)
    assert "its slope is 1.06" in optimum_sentence(steep)


def test_a_bank_withholds_its_share_of_the_push_from_the_items(full):
    """Of 127 + 128 negatives per row, alike in their draws, 128 pass no gradient."""
    size, rows = 128, 128
    card = audit_arm(configure(negatives__bank__size=size, training__batch_size=rows))
    assert card.banked == pytest.approx(size / (size + rows - 1), abs=0.004)
    assert "training does not follow this objective" in optimum_sentence(card)
    assert any("50% of the push on items" in line for line in card_lines(card))
    assert full.banked == 0 and not any("bank" in line for line in card_lines(full))


def test_the_cost_of_a_pair_decides_at_which_catalogue_the_samples_pay(full):
    card = dataclasses.replace(full, variance=2.0, pairs=500)
    assert "above 1,000 items" in gradient_sentence(card)


def test_sizes_are_kept_or_named():
    config = configure(
        training__batch_size=4096,
        negatives__bank__size=8192,
        negatives__hard__source="mined",
        negatives__hard__num=4,
    )
    arm = small_arm(config)
    assert arm.problem.order.batches(0, 1).shape == (1, 1024)
    assert arm.problem.program.negatives.bank == 1024
    (mining,) = arm.problem.memories
    assert (mining.first, mining.end) == (40, 200)
    assert arm.scaled == (
        "training.batch_size=4096, here 1024",
        "negatives.bank.size=8192, here 1024",
        "negatives.hard.mined.range_min=100, here 40",
        "negatives.hard.mined.range_max=500, here 200",
    )
    assert small_arm(configure(training__batch_size=64)).scaled == ()
    known = configure(training__batch_size=64, negatives__available=True)
    assert small_arm(known).scaled == ("negatives.available=true, here false",)


def test_a_strategy_that_leaves_few_positives_gets_a_smaller_batch():
    arm = small_arm(configure(positives__strategy="cap", positives__cap=1))
    assert arm.scaled == ("training.batch_size=1024, here 400",)


def test_scaled_sizes_are_printed(full):
    card = dataclasses.replace(full, scaled=("training.batch_size=4096, here 1024",))
    assert card_lines(card)[-1].endswith("training.batch_size=4096, here 1024")
    assert len(card_lines(full)) == len(card_lines(card)) - 1


def test_a_baseline_has_no_objective():
    with pytest.raises(InputError, match=r"towers\.kind=popularity is a baseline"):
        audit_arm(configure(towers__kind="popularity"))


# ----------------------------------------------------------------------- stored cards


def test_what_decides_no_optimum_decides_no_key():
    same = configure(
        loss__name="full_softmax",
        training__batch_size=256,
        seed=3,
        towers__dim=8,
        optimizer__learning_rate=0.5,
        data__source="table",
        training__epochs=2,
    )
    assert card_key(same) == card_key(FULL) != card_key(POPULAR)


def test_a_card_is_computed_once(tmp_path, monkeypatch):
    first = find_cards({"full": FULL}, tmp_path)
    monkeypatch.setattr("twotower_jax.cards.store.audit_arm", None)
    assert find_cards({"again": FULL}, tmp_path) == {"again": first["full"]}


def test_reasons_stand_where_there_is_no_card(tmp_path):
    baseline = configure(towers__kind="popularity")
    cards = find_cards({"a": baseline, "b": FULL, "c": POPULAR}, tmp_path, most=1)
    assert "baseline" in cards["a"] and isinstance(cards["b"], Card)
    assert "twotower audit" in cards["c"]
    stored = (tmp_path / "objective.json").read_text()
    for text in ("{broken", stored.replace("1", "2", 1)):
        (tmp_path / "objective.json").write_text(text)
        find_cards({"b": FULL}, tmp_path)
        assert (tmp_path / "objective.json").read_text() == stored
    (tmp_path / "objective.json").write_text("{broken")
    assert isinstance(find_cards({"b": FULL}, tmp_path)["b"], Card)
