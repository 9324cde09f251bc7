"""What arms are called: their label, else the keys in which they differ."""

from typing import Any

import pytest

from twotower_jax.config import Config, to_dict
from twotower_jax.study.naming import differing_keys, name_arms


def config(**changes: Any) -> dict[str, Any]:
    """Return the default config with changes, keys dotted by two underscores."""
    values = to_dict(Config())
    for key, value in changes.items():
        *groups, last = key.split("__")
        inner = values
        for group in groups:
            inner = inner[group]
        inner[last] = value
    return values


def test_group_of_a_key_is_dropped():
    configs = [
        config(negatives__in_batch=True, loss__logq__correct="none"),
        config(negatives__in_batch=False, loss__logq__correct="all"),
    ]
    expected = ["in_batch=true logq.correct=none", "in_batch=false logq.correct=all"]
    assert name_arms(configs) == expected


def test_group_is_kept_where_the_rest_is_ambiguous_or_says_nothing():
    one = {"loss": {"name": "bpr"}, "a": {"x": 1}, "b": {"x": 1}}
    two = {"loss": {"name": "ssm"}, "a": {"x": 2}, "b": {"x": 2}}
    expected = ["loss.name=bpr a.x=1 b.x=1", "loss.name=ssm a.x=2 b.x=2"]
    assert name_arms([one, two]) == expected


def test_seed_output_and_name_are_no_difference():
    configs = [config(), config(seed=3, output="elsewhere", name="other")]
    assert differing_keys(configs) == []
    assert name_arms(configs) == ["default", "default"]


def test_seed_of_a_group_is_a_difference():
    configs = [config(), config(data__simulator__seed=1)]
    assert name_arms(configs) == ["simulator.seed=0", "simulator.seed=1"]


def test_given_arm_wins():
    configs = [config(arm="base"), config(arm=None, towers__dim=32)]
    assert name_arms(configs) == ["base", "dim=32"]


def test_arms_that_share_a_given_name_are_not_merged():
    configs = [config(arm="x"), config(arm="x", towers__dim=32), config(arm="y")]
    assert name_arms(configs) == ["x dim=64", "x dim=32", "y"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((1, 1.0), ("default", "default")),
        (("1", 1), ('x="1"', "x=1")),
        ((None, "null"), ("x=null", 'x="null"')),
        (([128], []), ("x=[128]", "x=[]")),
        ((1e-7, True), ("x=1e-07", "x=true")),
    ],
)
def test_values_are_shown_without_confusion(values, shown):
    assert tuple(name_arms([{"g": {"x": value}} for value in values])) == shown


def test_key_that_only_one_config_has_is_unset_in_the_other():
    assert name_arms([{"g": {"x": 1}}, {"g": {}, "h": 2}]) == [
        "x=1 g=unset h=unset",
        "x=unset g={} h=2",
    ]


def test_control_characters_of_a_given_arm_are_replaced():
    assert name_arms([{"arm": "a\n b\x1b[31m\ud800"}]) == ["a b\ufffd[31m\ufffd"]
