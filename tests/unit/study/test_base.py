"""The choice of the base arm."""

import pytest

from twotower_jax.errors import InputError
from twotower_jax.study.base import choose_base

NEGATIVES = {"none": {"loss": {"logq": {"correct": "none"}}}}
NEGATIVES["uniform"] = {"negatives": {"in_batch": False, "easy": {"num": 64}}}
NEGATIVES["mixed"] = {"negatives": {"easy": {"num": 64}}}
NEGATIVES["bce"] = {"loss": {"name": "bce"}}
EASE = {"towers": {"kind": "ease"}}
FULL = {"loss": {"name": "full_softmax"}}


def test_named_arms_come_before_the_rule():
    arms = {"a": {}, "b": NEGATIVES["none"], "c": NEGATIVES["bce"]}
    assert choose_base(arms).arm == "a"
    assert choose_base(arms, recorded="b") == ("b", "the study names it")
    assert choose_base(arms, "c", recorded="b").arm == "c"
    assert choose_base(arms, recorded="gone").arm == "a"
    message = r"'cc' has no .* you mean c.* one of 'c', 'a', 'b': .* --base ARM"
    with pytest.raises(InputError, match=message):
        choose_base(arms, "cc")


@pytest.mark.parametrize("title", ["zz", "EASE"])
def test_in_batch_with_log_q_is_found_by_its_configuration(title):
    """Titles mislead: the first of the alphabet has the other arm's title."""
    arms = {"a in-batch + logQ": NEGATIVES["none"], "ease": EASE, "full": FULL}
    arms |= NEGATIVES | {title: {"arm": title, "negatives": {"in_batch": True}}}
    base = choose_base(arms)
    assert base == (title, "its samples and loss are in-batch + logQ")
    assert base.sentence.startswith(f"The base arm is {title}: ")


def test_the_model_of_the_study_does_not_count():
    model = {"towers": {"kind": "two_tower", "query": ["history"]}}
    arms = {name: one | model for name, one in NEGATIVES.items()}
    assert choose_base(arms | {"z": model}).arm == "z"


def test_else_the_nearest_arm_with_what_sets_it_apart():
    two = {**NEGATIVES["bce"], **NEGATIVES["uniform"]}
    base = choose_base({"a": two, "b": NEGATIVES["none"], "ease": EASE})
    assert base.arm == "b"
    assert "nearest to in-batch + logQ (loss.logq.correct=none against all" in base.rule


def test_of_equally_near_arms_the_one_of_the_defaults_else_none():
    arms = {str(t): {"loss": {"temperature": t}} for t in (0.05, 0.14, 0.2)}
    assert choose_base(arms).arm == "0.14"
    del arms["0.14"]
    base = choose_base(arms)
    assert base == ("0.05", "it has the lowest loss.temperature")
    uneven = {t: one | {"towers": {"dim": int(t[-1])}} for t, one in arms.items()}
    base = choose_base(uneven)
    assert base.arm == "" and "none of 0.05, 0.2 is nearest" in base.sentence
    assert "--base ARM" in base.sentence
    assert (
        choose_base({"ease": EASE, "knn": {"towers": {"kind": "item_knn"}}}).arm == ""
    )


def test_a_single_arm_is_its_own_base_without_a_word():
    assert choose_base({"a": EASE}) == ("a", "") and choose_base({}).sentence == ""
