"""Controls of a choice at its temperature: nothing but the samples differs."""

from pathlib import Path
from typing import Any

import pytest
from helpers import tiny
from rich.console import Console

from twotower_jax.advice.files import words_to_test
from twotower_jax.advice.progress import Choice, Progress
from twotower_jax.advice.runs import Runs
from twotower_jax.config import to_dict
from twotower_jax.study.naming import flatten
from twotower_jax.study.selection import Trial
from twotower_jax.sweeps.compose import compose_config


def tuned(choice, temperature, value):
    no_data: Any = None  # composing reads none
    runs = Runs(tiny.WORLD, no_data, Console(quiet=True), "")
    points = [{"loss.temperature": "0.3"}, {"loss.temperature": temperature}]
    trials = (Trial(points[0], ()), Trial(points[1], (value,)))
    return Choice(runs.points(choice, points), trials, 1)


def differing(first, second):
    one, other = (flatten(to_dict(compose_config(words))) for words in (first, second))
    return {key for key in one if one[key] != other[key]}


def test_a_control_of_another_temperature_is_tested_at_that_of_the_choice_too():
    best = tuned("in_batch_logq", "0.2", 0.3)
    same = tuned("uniform", "0.2", 0.2)
    other = tuned("in_batch", "0.4", 0.1)
    found = Progress(Path("advice"), samples=[best, same, other])
    words = words_to_test(found, found.samples, lambda one: 7 if one is other else 9)
    moved = "in-batch at temperature 0.2"
    assert found.controls == {"in-batch": moved}
    assert list(words) == ["in-batch + logQ", "uniform", "in-batch", moved]
    assert differing(words[moved], words["in-batch"]) == {"loss.temperature"}
    assert differing(words[moved], words["in-batch + logQ"]) == {
        *("loss.logq.correct", "training.steps"),
    }
    assert compose_config(words[moved]).training.steps == 7


def test_the_control_trains_as_long_as_it_was_best_at_that_temperature():
    best, other = tuned("in_batch_logq", "0.3", 0.3), tuned("in_batch", "0.4", 0.1)
    for trials, length in (
        (other.trials, 4),  # the point of .3 has no value
        ((Trial(other.grid.points[0], (0.05,)), other.trials[1]), 3),
        ((Trial(other.grid.points[0], (0.05,), left_at=2), other.trials[1]), 4),
    ):
        arms = [best, other._replace(trials=trials)]
        found = Progress(Path("advice"), samples=arms)
        words = words_to_test(found, arms, lambda one: 3 + one.place)
        moved = compose_config(words["in-batch at temperature 0.3"])
        assert moved.training.steps == length


@pytest.mark.slow
def test_a_baseline_that_is_served_has_no_control_of_another_temperature():
    ours, other = tuned("in_batch_logq", "0.2", 0.3), tuned("in_batch", "0.4", 0.1)
    baseline = tuned("baseline/popularity", "0.2", 0.5)
    found = Progress(Path("advice"), samples=[ours, other], baselines=[baseline])
    words = words_to_test(found, [ours, other, baseline], lambda one: 7)
    assert list(words) == ["in-batch + logQ", "in-batch", "popularity"]
    assert found.controls == {}
