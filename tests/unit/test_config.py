"""The schema in Python: keys, copies and messages (the files: tests/config)."""

import dataclasses

import pytest

from twotower_jax.config import (
    LABELS,
    Config,
    fingerprint,
    from_dict,
    known_keys,
    to_dict,
)
from twotower_jax.errors import InputError, closest, unknown
from twotower_jax.schema.data import DataConfig


def test_dictionaries_hold_plain_values_and_a_copy():
    config = Config()
    values = to_dict(config)
    assert values["towers"]["hidden"] == [128]
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
        value = Config()
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


def test_a_configuration_without_negatives_is_refused_unless_full():
    values = {"negatives": {"in_batch": False}}
    with pytest.raises(InputError, match="leaves no negatives"):
        from_dict(values)
    from_dict(values | {"loss": {"name": "full_softmax"}})
    from_dict({"negatives": {"in_batch": False, "easy": {"num": 1}}})


def test_unknown_names_list_the_known_ones():
    error = unknown("loss.name", "hinge", ["b", "a"])
    assert isinstance(error, InputError) and isinstance(error, ValueError)
    assert str(error) == "loss.name='hinge' is unknown; choose one of: a, b"
    assert closest("training.batchsize", known_keys()) == (
        "did you mean training.batch_size?"
    )
    assert closest("zzzzzz", known_keys()) is None
