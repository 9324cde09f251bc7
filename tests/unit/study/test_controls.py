"""Controls: arms that differ in one choice, by configurations of the real arms."""

import functools

import pytest
from hydra import compose, initialize_config_module

from twotower_jax.config import to_dict
from twotower_jax.study.controls import choose_controls, contrast
from twotower_jax.study.trained import trained_arms
from twotower_jax.sweeps.compose import CONF, to_config


@pytest.fixture(scope="module")
def arm():
    """Return a function from overrides to a configuration."""
    with initialize_config_module(CONF, version_base="1.3"):

        @functools.cache
        def composed(*words):
            return to_dict(to_config(compose("config", overrides=list(words))))

        yield composed


SLOTS = ("arms=slots/half_hard", "arm=x")
EXPOSED = ("arms=exposed_as_negatives",)


@pytest.mark.parametrize(
    ("first", "second", "choices"),
    [
        # One key.
        ((), ("seed=3", "name=other", "arm=other"), 0),
        ((), ("loss.temperature=0.2",), 1),
        (("arms=in_batch",), ("arms=in_batch_logq",), 1),
        ((*SLOTS,), (*SLOTS, "negatives.hard_ratio=0"), 1),
        ((*SLOTS,), (*SLOTS, "negatives.hard.log_q=easy"), 1),
        # Keys that have no effect.
        ((), ("negatives.hard.pool=user", "negatives/easy=popularity"), 0),
        ((), ("training.checkpoint_every=7", "evaluation.k=[20,50]"), 0),
        (("training.steps=9",), ("training.steps=9", "training.epochs=2"), 0),
        (
            (*SLOTS, "negatives.hard_ratio=0"),
            (*SLOTS, "negatives.hard_ratio=0", "negatives.hard.stages=[retrieved]"),
            0,
        ),
        # Keys that come with a choice.
        (("positives=none",), ("positives=upsample_cold", "positives.max_repeat=3"), 1),
        (("negatives=uniform",), ("negatives=popularity",), 1),
        (("negatives=in_batch",), ("negatives=mixed",), 1),
        (("negatives=in_batch",), ("negatives=hard",), 1),
        (("loss.logq.correct=none",), ("loss=bce",), 1),
        # Draws that replace in-batch negatives, or each other.
        (("negatives=in_batch",), ("negatives=uniform",), 1),
        (("arms=one_of_200/none",), ("arms=one_of_200/pre_ranked",), 1),
        (("arms=plain/easy",), ("arms=plain/half_hard",), 1),
        (
            ("arms=plain/half_hard",),
            ("arms=plain/easy", "negatives.easy.num=16", "negatives.hard.num=0",
             "negatives.hard_ratio=null"),
            1,
        ),
        # Two or more choices. The first pair once made a verdict that was wrong.
        (("arms=in_batch_logq",), ("arms=half_hard",), 2),
        (("arms=in_batch",), ("arms=uniform",), 2),
        (("negatives=uniform",), ("negatives=uniform", "negatives.easy.num=8",
                                  "negatives.layout=per_row"), 2),
        (("arms=uniform",), EXPOSED, 3),
        (("arms=in_batch",), ("arms=in_batch_logq", "training.batch_size=64"), 2),
    ],
)  # fmt: skip
def test_choices_of_two_arms(arm, first, second, choices):
    configs = arm(*first), arm(*second)
    assert contrast(*configs).choices == choices
    assert contrast(*configs[::-1]).choices == choices


def test_keys_are_listed_with_both_values_and_those_that_follow(arm):
    found = contrast(arm("negatives=hard"), arm("negatives=in_batch"))
    assert found.keys == {"negatives.hard.num": ("4", "0")}
    assert {"negatives.hard.pool", "negatives.hard.stages"} <= set(found.following)
    assert "negatives.hard.candidate_num" not in found.following  # of dns alone
    assert found.text.startswith("negatives.hard.num=4 against 0; with it ")


def test_tuned_keys_count_only_where_nothing_else_differs(arm):
    keys = ("loss.temperature", "optimizer.learning_rate")
    words = ("loss.temperature=0.2", "optimizer.learning_rate=0.3")
    plain, tuned = arm("arms=in_batch"), arm("arms=in_batch", *words)
    assert contrast(plain, tuned, keys).choices == 2
    assert contrast(arm("arms=in_batch_logq"), tuned, keys).choices == 1
    assert contrast(arm("arms=in_batch_logq"), tuned).choices == 3


def test_configurations_of_another_version_and_of_wrong_types_are_compared():
    old = {"negatives": {"in_batch": True, "gone": 3}, "loss": {"name": "bce"}}
    assert contrast(old, {"loss": {"name": "bce"}}).keys == {}
    assert contrast(old, {"loss": {"name": "bce"}}).following == ("negatives.gone",)
    hostile = {"negatives": {"hard": {"num": "four"}, "easy": {"num": None}}}
    assert contrast(hostile, {}).choices == 2


# --- the control of each arm ----------------------------------------------------------


def test_controls_of_a_study_lead_to_its_base(arm):
    base = "in-batch + logQ"
    names = "in_batch_logq in_batch downsample_hot plain/easy plain/half_hard "
    names += "slots/uniform slots/half_hard uniform_per_row exposed_as_negatives "
    names += "one_of_200/none one_of_200/pre_ranked ladder/uniform ladder/ranked"
    configs = [arm(f"arms={name}") for name in names.split()]
    short = {str(config["arm"]): config for config in configs}
    found = choose_controls(short, base)
    assert base not in found
    controls = {name: one.control for name, one in found.items()}
    expected = {
        "in-batch": base,
        "in-batch + logQ + downsample_hot": base,
        "16 slots, half rejected": "16 uniform slots",
        "half hard, log q of the mixture": "uniform slots",
        "exposed as negatives": "uniform, a row",
        "one pre_ranked": "uniform only",
        "against ranked": "against uniform",
    }
    assert expected.items() <= controls.items()


def test_an_arm_without_a_control_names_the_nearest_arm(arm):
    names = ("in_batch_logq", "in_batch", "half_hard", "exposed_as_negatives")
    arms = {name: arm(f"arms={name}") for name in names}
    found = choose_controls(arms, "in_batch_logq")
    assert [one.control for one in found.values()] == ["in_batch_logq", None, None]
    assert found["half_hard"].warning.startswith(
        "half_hard has no control: it differs from the nearest arm, in_batch_logq, in "
        "2 choices (negatives.easy.num=4 against 0, negatives.hard.num=4 against 0; w"
    )
    # A control that METHOD asks for: the same slots, none of them hard.
    arms["none_hard"] = arm("arms=half_hard", "negatives.hard_ratio=0")
    found = choose_controls(arms, "in_batch_logq")
    assert found["half_hard"].control == "none_hard"
    assert found["none_hard"].control == "in_batch_logq"


def test_arms_apart_from_the_base_are_each_others_control(arm):
    arms = {name: arm(f"arms={name}") for name in ("in_batch", "uniform")}
    arms["clicks"] = arm("arms=popularity_negatives")
    found = choose_controls(arms, "in_batch")
    assert found["uniform"].control == "clicks"
    assert found["clicks"].control == "uniform"


@pytest.mark.parametrize(
    ("fitted", "control"), [("true", "corrected"), ("false", None)]
)
def test_the_period_of_a_log_alone_is_no_choice(arm, fitted, control):
    # With a validation set the best step depends on it.
    common = (f"data.fit_valid={fitted}", "training.patience=0")
    arms = {
        "corrected": arm("arms=in_batch_logq", "training.eval_every=9", *common),
        "plain": arm("arms=in_batch", "training.eval_every=5", *common),
    }
    assert choose_controls(arms, "corrected")["plain"].control == control


def test_a_declared_control_is_taken_and_its_choices_are_stated(arm):
    arms = {name: arm(f"arms={name}") for name in ("in_batch_logq", "half_hard")}
    (one,) = choose_controls(
        arms, "in_batch_logq", declared={"half_hard": "in_batch_logq"}
    ).values()
    assert (one.control, one.declared) == ("in_batch_logq", True)
    assert (
        "differs from its declared control, in_batch_logq, in 2 choices" in one.warning
    )


def test_arms_that_train_alike_are_named(arm):
    arms = {"a": arm(), "b": arm("negatives.hard.pool=user")}
    (one,) = choose_controls(arms, "a").values()
    assert one.warning == (
        "b and a train alike: they differ in no key that has an effect."
    )


def test_baselines_and_the_full_softmax_neither_have_nor_are_a_control(arm):
    arms = {
        "popularity": arm("arms=popularity"),
        "full": arm("loss=full_softmax"),
        "in-batch": arm("arms=in_batch"),
    }
    assert list(trained_arms(arms)) == ["in-batch"]
    # The base of the study may be one of them.
    assert choose_controls(trained_arms(arms), "popularity") == {}
    assert choose_controls({}, "popularity") == {}
