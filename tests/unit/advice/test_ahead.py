"""The decision says when the test part disagrees with the choice on validation."""

from types import SimpleNamespace
from typing import Any

import pytest
from helpers.studies import write_arm, write_queries

from twotower_jax.advice import decision
from twotower_jax.study.description import Description
from twotower_jax.study.load import load_study

ARMS = {"knn": [0.200, 0.202, 0.201], "model": [0.300, 0.303, 0.301]}
CLOSE = {"knn": [0.2, 0.3, 0.25], "model": [0.21, 0.29, 0.27]}


@pytest.mark.parametrize(
    ("arms", "choice", "said"),
    [
        (ARMS, "knn", "but there model has 0.3013, and the choice is behind it, -0.10"),
        (ARMS, "model", None),
        (CLOSE, "knn", None),
    ],
)
def test_an_arm_ahead_of_the_choice_on_test_is_named(arms, choice, said, tmp_path):
    text = ahead(tmp_path, arms, choice)
    assert said in text if said else text == "", text


def test_a_difference_that_stands_before_is_not_repeated(tmp_path):
    text = ahead(tmp_path, ARMS, "knn", named=("model", "knn"))
    assert text.endswith("the choice is behind it: validation and test disagree")


def ahead(folder, arms, choice, named=()):
    for name, values in arms.items():
        write_arm(folder, name, values)
    write_queries(folder)
    study = load_study([folder], Description(base="knn", metric="recall@20"))
    found: Any = SimpleNamespace(tests=folder, tested=dict.fromkeys(arms, ()))
    best: Any = SimpleNamespace(label=choice)
    return decision._ahead(found, best, study, named)
