"""Kinds of towers that differ in speed have as much time, and so different lengths."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from twotower_jax.advice import stages
from twotower_jax.advice.space import Arm
from twotower_jax.advice.speed import Speed
from twotower_jax.config import Config
from twotower_jax.config.training import TrainingConfig
from twotower_jax.data.log import Pairs
from twotower_jax.errors import InputError

# Of towers: steps that the minutes allow, and the metric after them.
KINDS = {"history": (1_000, 0.19), "factors": (4_000, 0.20)}


class Scripted:
    """Runs and tuner of an advice whose steps and metrics are written above."""

    def __init__(self, epochs: int):
        self.words: list[str] = ["training.steps=1000"]
        rows = np.arange(1024 * 100)
        self.data = SimpleNamespace(split=SimpleNamespace(train=Pairs(rows % 9, rows)))
        self.tried: list[tuple[list[str], str]] = []
        self.speed = Speed(1.0, 0.0, 64)
        self.epochs, self.errors = epochs, {}

    def config(self) -> Config:
        steps = int(self.words[-1].partition("=")[2])
        training = TrainingConfig(batch_size=1024, epochs=self.epochs, steps=steps)
        return Config(training=training)

    def grid(self, arm: Arm) -> Arm:
        return arm

    def choose(self, title, grids, seconds):
        kinds = grids[0].axes["towers"]
        self.tried.append((kinds, self.words[-1]))
        best = max(kinds, key=lambda kind: KINDS[kind][1])
        found = {"kind": best, "seconds": seconds, "trials": ()}
        return [SimpleNamespace(value=KINDS[best][1], **found)]


@pytest.mark.parametrize("epochs", [100, 10])
def test_a_faster_kind_has_more_steps_where_the_minutes_end_the_training(
    epochs, monkeypatch
):
    scripted: Any = Scripted(epochs)
    advisor: Any = stages.Advisor(["data=simulator"], 12, Console(quiet=True))
    arm = Arm("in_batch_logq", {"towers": list(KINDS)})
    monkeypatch.setattr(stages, "model_arm", lambda *_: arm)
    monkeypatch.setattr(stages, "measure", lambda runs, folder, word: word)

    def length(runs, speed, minutes, print_line):
        return [f"training.steps={KINDS[speed.partition('=')[2]][0]}"]

    monkeypatch.setattr(stages, "length_words", length)
    assert isinstance(advisor.progress.folder, Path)
    chosen = advisor._choose_model(scripted, scripted)
    assert chosen.kind == "factors"
    if epochs == 10:  # 10 epochs of 100 steps end the training before the minutes do
        assert scripted.tried == [(list(KINDS), "training.steps=1000")]
        assert chosen.seconds >= 108  # .1875 of 576 s; of what the baselines left, more
        return
    each = [([kind], f"training.steps={steps}") for kind, (steps, _) in KINDS.items()]
    assert scripted.tried == each
    assert scripted.words[-1] == "training.steps=4000" and chosen.seconds >= 54


def test_a_kind_whose_probes_fail_is_left_out_with_its_reason(monkeypatch):
    scripted: Any = Scripted(epochs=100)
    advisor: Any = stages.Advisor(["data=simulator"], 12, Console(quiet=True))
    arm = Arm("in_batch_logq", {"towers": list(KINDS)})
    monkeypatch.setattr(stages, "model_arm", lambda *_: arm)
    monkeypatch.setattr(stages, "length_words", lambda *_: ["training.steps=1000"])

    def measure(runs, folder, *words):
        if words != ("towers=history",):
            return Speed(1.0, 0.0, 64)
        runs.errors["probes of towers=history"] = "the loss is not finite"
        return None

    monkeypatch.setattr(stages, "measure", measure)
    assert advisor._first_speed(scripted) == Speed(1.0, 0.0, 64)
    assert advisor._choose_model(scripted, scripted).kind == "factors"
    assert scripted.tried == [(["factors"], "training.steps=1000")]
    assert advisor.progress.incomplete == {
        "probes of towers=history": "the loss is not finite"
    }
    monkeypatch.setattr(stages, "measure", lambda *_: None)
    with pytest.raises(InputError, match="no model .* the loss is not finite"):
        advisor._first_speed(scripted)
