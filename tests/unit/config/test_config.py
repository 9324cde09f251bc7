"""The schema in Python: keys, copies and messages (the files: tests/config)."""

import dataclasses

import pytest
from helpers.configs import with_choice

from twotower_jax.config import (
    LABELS,
    Config,
    fingerprint,
    from_dict,
    from_record,
    known_keys,
    to_dict,
)
from twotower_jax.data.config import DataConfig
from twotower_jax.errors import InputError, closest, unknown


def test_dictionaries_hold_plain_values_and_a_copy():
    config = Config()
    values = to_dict(config)
    assert values["towers"]["hidden"] == []
    assert values["data"]["columns"]["user"] == "user"
    values["towers"]["hidden"].append(1)
    values["data"]["query_features"]["age"] = "numeric"
    assert config == Config()


def test_a_part_of_the_keys_leaves_the_defaults():
    config = from_dict(
        {"loss": {"temperature": 0.5}, "data": {"columns": {"user": "u"}}}
    )
    expected = Config()
    expected = dataclasses.replace(
        expected,
        loss=dataclasses.replace(expected.loss, temperature=0.5),
        data=dataclasses.replace(
            expected.data,
            columns=dataclasses.replace(expected.data.columns, user="u"),
        ),
    )
    assert config == expected
    assert from_dict({}) == Config()


def test_defaults_are_not_shared():
    first, second = Config(), Config()
    first.data.query_features["age"] = "numeric"
    assert second.data.query_features == {} and Config() == second


def test_known_keys_name_sections_and_leaves():
    keys = known_keys()
    assert len(keys) == len(set(keys))
    assert {"seed", "loss", "loss.logq", "loss.logq.correct"} <= set(keys)
    for key in keys:
        value = from_record(with_choice(to_dict(Config()), key))
        for part in key.split("."):
            value = getattr(value, part)
    assert set(LABELS) <= set(keys)


def test_labels_do_not_change_the_fingerprint():
    labelled = Config(name="other", output="elsewhere", arm="a")
    assert fingerprint(labelled) == fingerprint(Config())
    assert fingerprint(Config(seed=1)) != fingerprint(Config())


def test_equal_configurations_have_equal_hashes():
    first = DataConfig(query_features={"a": "numeric", "b": "multi"})
    second = DataConfig(query_features={"b": "multi", "a": "numeric"})
    assert first == second and hash(first) == hash(second)
    assert fingerprint(Config(data=first)) == fingerprint(Config(data=second))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", "x", "an integer"),
        ("seed", True, "an integer"),
        ("seed", 1.0, "an integer"),
        ("seed", None, "an integer"),
        ("name", 3, "a text"),
        ("arm", 3, "a text or null"),
        ("training", 3, "keys with values"),
        ("training", None, "keys with values"),
        ("loss.logq", ["correct"], "keys with values"),
        ("loss.logq.streaming.alpha", "0.1", "a number"),
        ("loss.temperature", True, "a number"),
        ("loss.temperature", 10**400, "a number"),
        ("optimizer.eps", "1e-7", "a number, in YAML with a dot and a sign as in"),
        ("optimizer.eps", "1.0e7", "a number, in YAML with a dot and a sign as in"),
        ("data.min_rating", "four", "a number or null"),
        ("training.steps", 2.5, "an integer or null"),
        ("training.steps", False, "an integer or null"),
        ("negatives.in_batch", 1, "true or false"),
        ("negatives.in_batch", "true", "true or false"),
        ("towers.hidden", 128, "a list"),
        ("towers.query", "id", "a list"),
        ("data.query_features", ["age"], "keys with values"),
        ("data.columns.time", 0, "a text or null"),
    ],
)
def test_a_value_of_another_type_is_refused(key, value, expected):
    nested = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    with pytest.raises(InputError) as caught:
        from_dict(nested)
    assert str(caught.value).startswith(f"{key}={value!r}"[:30])
    assert f" has the wrong type; give {expected}" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"towers": {"hidden": [8, "4"]}}, "towers.hidden[1]='4' .* an integer"),
        ({"evaluation": {"k": [True]}}, "evaluation.k[0]=True .* an integer"),
        ({"towers": {"query": ["id", None]}}, "towers.query[1]=None .* a text"),
        (
            {"negatives": {"hard": {"weights": [1, "2"]}}},
            "negatives.hard.weights[1]='2' .* a number",
        ),
        (
            {"data": {"query_features": {"age": 1}}},
            "data.query_features.age=1 .* a text",
        ),
        (
            {"data": {"item_features": {}, "candidate_features": {1: "multi"}}},
            "unknown key data.item_features",
        ),
        (
            {"data": {"candidate_features": {1: "multi"}}},
            "data.candidate_features.1=1 .* a text as its name",
        ),
    ],
)
def test_the_wrong_part_of_a_list_or_a_dictionary_is_named(values, message):
    pattern = message.replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(InputError, match=pattern):
        from_dict(values)


def test_an_integer_for_a_number_is_the_same_run():
    whole = from_dict({"loss": {"name": "bce", "temperature": 1, "ratio": 4}})
    assert type(whole.loss.temperature) is type(whole.loss.ratio) is float
    assert fingerprint(whole) == fingerprint(
        from_dict({"loss": {"name": "bce", "temperature": 1.0, "ratio": 4.0}})
    )


def test_right_values_of_every_kind_are_kept():
    hard = {"stages": ["ranked"], "weights": [2], "num": 4}
    values = {
        "arm": "a",
        "data": {"query_features": {"age": "numeric"}, "min_rating": 4},
        "negatives": {"hard": hard, "hard_ratio": None},
        "towers": {"hidden": (8, 4)},
        "training": {"steps": 3, "eval_every": None},
    }
    config = from_dict(values)
    assert config.arm == "a" and config.data.min_rating == 4
    assert config.data.query_features == {"age": "numeric"}
    assert config.data.query_features is not values["data"]["query_features"]
    assert config.negatives.hard.stages == ("ranked",)
    assert config.negatives.hard.weights == (2.0,)
    assert config.negatives.hard_ratio is None
    assert config.towers.hidden == (8, 4) and config.training.steps == 3
    assert from_dict(to_dict(config)) == config


def test_a_configuration_without_negatives_is_refused_unless_full():
    values = {"negatives": {"in_batch": False}}
    with pytest.raises(InputError, match="leaves no negatives"):
        from_dict(values)
    from_dict(values | {"loss": {"name": "full_softmax"}})
    from_dict({"negatives": {"in_batch": False, "easy": {"num": 1}}})


def test_unknown_names_list_all_names():
    error = unknown("loss.name", "hinge", ["b", "a"])
    assert isinstance(error, InputError) and isinstance(error, ValueError)
    assert str(error) == "loss.name='hinge' is unknown; choose one of: a, b"
    assert closest("training.batchsize", known_keys()) == (
        "did you mean training.batch_size?"
    )
    assert closest("zzzzzz", known_keys()) is None
