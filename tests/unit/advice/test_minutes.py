"""The length of a training that the minutes of an advice allow."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from twotower_jax.advice import speed
from twotower_jax.advice.speed import Speed
from twotower_jax.config import Config
from twotower_jax.config.training import TrainingConfig
from twotower_jax.data.log import Pairs
from twotower_jax.errors import InputError


def test_minutes_too_few_for_one_arm_name_the_minutes_that_are_enough():
    # 60 steps of 256 positives at 1,536 examples/s take 10 s, and 2 s beside them.
    slow = Speed(1_536, 2.0, 64)
    with pytest.raises(
        InputError, match=r"advise.minutes=0.1 is too small for one arm: .* 12.0 s"
    ):
        speed.short_of(0.1, slow, 256)
    text = speed.short_of(1, slow, 256)
    # Twelve such runs in the 30 % that the test has of 480 s, and a fifth beside them.
    assert "advise.minutes=1 is short" in text and "advise.minutes=10 is enough" in text


@pytest.mark.parametrize("minutes", [0.5, 4, 10, 60])
def test_baselines_have_a_quarter_of_all_minutes(minutes):
    assert speed.BASELINES * speed.planned(minutes) >= minutes / 4
    assert speed.BASELINES + speed.MODEL + speed.SAMPLES < 0.75


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        # 30 % of 20 of the 22 minutes is 360 s: twelve runs of 30 s.
        (Speed(102_400, 0.0, 64), 3_000),
        (Speed(102_400, 15.0, 64), 1_500),
        (Speed(409_600, 15.0, 64), 6_000),
        (Speed(1e9, 0.0, 64), 20 * 700),  # as many epochs as are configured
    ],
)
def test_a_faster_model_trains_longer_in_the_same_time(found, steps):
    config = Config(training=TrainingConfig(batch_size=1024, epochs=20))
    data = SimpleNamespace(split=SimpleNamespace(train=range(1024 * 700)))
    runs: Any = SimpleNamespace(config=lambda: config, data=data)
    words = speed.length_words(runs, found, 22, lambda line: None)
    assert words[0] == f"training.steps={steps}"


@pytest.mark.parametrize(
    ("minutes", "users", "enough"),
    [(10, 1000, False), (40, 1000, True), (40, 1024 * 100, False)],
)
def test_a_transformer_needs_ten_epochs_and_second_positives(minutes, users, enough):
    # 102,400 examples/s, a third of it by a transformer, for a twelfth of 30 % of 8 or
    # 38 minutes: 410,000 or 1,946,000 examples, of 102,400 each epoch.
    config, rows = Config(training=TrainingConfig(batch_size=1024)), np.arange(102_400)
    data = SimpleNamespace(split=SimpleNamespace(train=Pairs(rows % users, rows)))
    runs: Any = SimpleNamespace(config=lambda: config, data=data)
    found = speed.affords_sequence(runs, Speed(102_400, 0.0, 64), minutes)
    assert found == enough


def test_a_speed_is_measured_once_for_an_advice(tmp_path, monkeypatch):
    launched: list = []

    def config(*words: str) -> Config:
        given = dict(word.split("=") for word in words)
        return Config(
            seed=int(given["seed"]),
            training=TrainingConfig(steps=int(given["training.steps"]), batch_size=256),
        )

    failing: list[int] = []

    def launch(configs):
        launched.append([one.seed for one in configs])
        return ["it failed" if one.seed in failing else None for one in configs]

    runs: Any = SimpleNamespace(
        config=config, data=None, launch_configs=launch, errors={}
    )
    result = {"examples_per_second": 5_000.0}
    folder = SimpleNamespace(result=lambda: result)
    monkeypatch.setattr(speed, "RunFolder", lambda path: folder)
    monkeypatch.setattr(speed, "check_sizes", lambda config, data: None)
    monkeypatch.setattr(speed, "trained_part", lambda config, data: data)
    monkeypatch.setattr(speed, "check_lengths", lambda config, data, part: None)
    monkeypatch.setattr(speed, "cores", lambda: 2)
    first = speed.measure(runs, tmp_path)
    assert first.rate == 10_000 and launched == [[2, 3], [0, 1]]
    assert speed.measure(runs, tmp_path) == first and len(launched) == 2
    failing += [1]  # the other one counts for both
    (tmp_path / "again").mkdir()
    assert speed.measure(runs, tmp_path / "again", "towers=history") is not None
    assert runs.errors == {"probes of towers=history": "it failed"}
    failing += [0]
    (tmp_path / "third").mkdir()
    assert speed.measure(runs, tmp_path / "third") is None
