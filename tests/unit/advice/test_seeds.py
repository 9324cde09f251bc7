"""Seeds of the test: the first ones together, the others while time lasts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twotower_jax.advice import stages
from twotower_jax.advice.progress import Progress
from twotower_jax.signals import Stopped


class Done:
    """A run's folder; the runs of the seeds in `finished` are done."""

    finished: tuple[int, ...] = ()

    def __init__(self, seed):
        self._seed = seed

    def is_done(self):
        return self._seed in self.finished


@pytest.fixture
def advisor(monkeypatch) -> Any:
    monkeypatch.setattr(stages, "compose_config", lambda words: int(words[-1][5:]))
    monkeypatch.setattr(stages, "run_folder", lambda seed: seed)
    monkeypatch.setattr(stages, "RunFolder", Done)
    one = object.__new__(stages.Advisor)
    one.progress = Progress(Path())
    one.progress.tested = {"in-batch": ["a"], "uniform": ["b"]}
    return one


def test_the_first_seeds_begin_together(advisor):
    asked = []

    def launch(configs):
        asked.append(configs)
        return [None] * len(configs)

    advisor._test_seeds(SimpleNamespace(launch_configs=launch), (0, 1, 2))
    assert asked == [[0, 0, 1, 1, 2, 2]] and advisor.progress.seeds == [0, 1, 2]


def test_an_arm_whose_tests_fail_is_left_out_with_its_reason(advisor):
    advisor._print = lambda text: None
    advisor.progress.controls = {"uniform": "uniform at temperature 0.2"}

    def launch(configs):
        return [None, "it failed"] * 3

    advisor._test_seeds(SimpleNamespace(launch_configs=launch), (0, 1, 2))
    found = advisor.progress
    assert list(found.tested) == ["in-batch"] and not found.controls
    assert found.incomplete == {"test of uniform": "it failed"}


def test_a_stop_notes_the_seeds_that_every_arm_finished(advisor, monkeypatch):
    monkeypatch.setattr(Done, "finished", (0, 2))

    def launch(configs):
        raise Stopped(2, 10)

    with pytest.raises(Stopped):
        advisor._test_seeds(SimpleNamespace(launch_configs=launch), (0, 1, 2))
    assert advisor.progress.seeds == [0, 2]
