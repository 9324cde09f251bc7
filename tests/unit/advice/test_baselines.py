"""Baselines of an advice: their time, and what is said of those that lack it."""

from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from twotower_jax.advice import stages
from twotower_jax.advice.space import Arm
from twotower_jax.config import Config
from twotower_jax.model.towers import BASELINES


class Scripted:
    """Runs and tuner of which so many points of each baseline are tried."""

    def __init__(self, tried: dict[str, int]):
        self.data, self.errors, self.seconds = None, {"iALS": "it failed"}, {}
        self._tried = tried

    def config(self) -> Config:
        return Config()

    def grid(self, arm: Arm) -> Any:
        kind = arm.choice.removeprefix("baseline/")
        names = SimpleNamespace(kind=kind)
        config = SimpleNamespace(arm=BASELINES[kind].label)
        points = range(1 if kind == "popularity" else 25)
        return SimpleNamespace(
            arm=SimpleNamespace(names=names, config=config), points=points
        )

    def choose(self, title, grids, seconds):
        label = grids[0].arm.config.arm
        self.seconds[label] = seconds
        number = self._tried[label]
        return [SimpleNamespace(label=label, points=number)] if number else []


@pytest.fixture
def tune(monkeypatch) -> Any:
    arms = [Arm(f"baseline/{name}", {}) for name in ("popularity", "ease", "ials")]
    monkeypatch.setattr(stages, "baseline_arms", lambda *_: arms)
    monkeypatch.setattr(stages, "train_clicks", lambda data: None)

    def tuned(minutes, fit, **tried):
        monkeypatch.setattr(BASELINES["ease"], "seconds", lambda clicks: fit)
        advisor: Any = stages.Advisor(["data=simulator"], minutes, Console(quiet=True))
        scripted = Scripted({"popularity": 1, "EASE": 5, "iALS": 5} | tried)
        advisor._tune_baselines(scripted, scripted)
        return advisor.progress, scripted.seconds

    return tuned


def test_baselines_share_a_quarter_of_the_minutes(tune):
    found, seconds = tune(8, fit=60)
    assert found.incomplete == {} and len(found.baselines) == 3
    assert seconds["iALS"] == pytest.approx(8 * 60 / 4, rel=0.01)


def test_few_points_and_failures_are_noted_with_their_reason(tune):
    found, _ = tune(8, fit=60, EASE=4, iALS=0)
    assert found.incomplete == {
        "EASE": "4 of 25 points: no time for more",
        "iALS": "0 of 25 points: it failed",
    }
    assert [one.label for one in found.baselines] == ["popularity", "EASE"]


def test_a_fit_of_more_than_half_of_the_minutes_is_not_begun(tune):
    found, seconds = tune(8, fit=300)
    assert "EASE" not in seconds
    assert found.incomplete == {
        "EASE": "a fit takes about 5.0 minutes, more than half of advise.minutes=8; "
        "advise.minutes=10 tries it"
    }
    assert tune(10, fit=300)[0].incomplete == {}
