"""Points near the best model, and fresh seeds for the best kinds of samples."""

from types import SimpleNamespace
from typing import Any, cast

from twotower_jax.advice import tuning
from twotower_jax.advice.progress import Choice
from twotower_jax.advice.speed import Speed
from twotower_jax.advice.tuning import Tuner
from twotower_jax.config import Config
from twotower_jax.config.training import TrainingConfig
from twotower_jax.model.towers import TwoTower
from twotower_jax.study.selection import Trial
from twotower_jax.sweeps.arm_points import ArmGrid


def chosen(name: str, *values: float, place: int = 0) -> Choice:
    names = SimpleNamespace(choice=name, kind="two_tower")
    points = [{"loss.temperature": f"{i}"} for i in range(len(values))]
    config = SimpleNamespace(arm=name)
    grid: Any = SimpleNamespace(
        arm=SimpleNamespace(names=names, config=config),
        points=points,
        configs=[None] * len(points),
    )
    trials = tuple(Trial(p, (v,)) for p, v in zip(points, values, strict=True))
    return Choice(grid, trials, place)


def config_of(point=None) -> Config:
    """Return a run of five steps at a point."""
    dim = int((point or {}).get("towers.dim", 64))
    return Config(towers=TwoTower(dim=dim), training=TrainingConfig(steps=5))


def grid_of(choice, points) -> Any:
    return ArmGrid(cast(Any, None), {}, points, [config_of(one) for one in points])


class Scripted(Tuner):
    """Points whose values are given, a list per round; a run takes a second."""

    def __init__(self, rounds, monkeypatch):
        runs = SimpleNamespace(data=None, points=grid_of, config=config_of)
        speed = Speed(1024.0, 0.0, 64)  # one step of dimension 64 a second
        super().__init__(cast(Any, runs), "recall@20", speed, lambda line: None)
        self.rounds, self.tried, self.confirmed = list(rounds), [], []
        near = [{"loss.temperature": "7"}, {"towers.dim": "128"}]
        monkeypatch.setattr(tuning, "nearby", lambda *words: near)

    def full_seconds(self, one):
        return 1.0

    def choose(self, title, grids, seconds, whole=False):
        self.tried.append(grids[0].points)
        values = self.rounds.pop(0)
        return [chosen("in_batch_logq", *values, place=values.index(max(values)))]

    def _confirmed(self, one):
        self.confirmed.append(one.label)
        return one._replace(fresh=(one.value - 0.01,) * 3)


def test_rounds_end_where_no_neighbour_is_better(monkeypatch):
    start = chosen("in_batch_logq", 0.10)
    tuner = Scripted([[0.10, 0.11, 0.10], [0.11, 0.11, 0.09], [0.5]], monkeypatch)
    better = tuner.refine(start, [], seconds=100, most=9)
    assert better.value == 0.11 and len(tuner.tried) == 2
    # The best point so far comes first: its run is finished and is read again.
    assert tuner.tried[0][0] == start.point
    assert tuner.tried[1][0] == better.trials[1].point


def test_a_slower_model_is_not_tried_where_the_test_could_not_be_afforded(monkeypatch):
    start = chosen("in_batch_logq", 0.10)
    for most, dims in ((9.9, [None, None]), (10.1, [None, None, "128"])):
        tuner = Scripted([[0.10, 0.09, 0.09]], monkeypatch)
        tuner.refine(start, [], seconds=100, most=most)
        assert [point.get("towers.dim") for point in tuner.tried[0]] == dims


def test_no_round_begins_without_time_for_a_run(monkeypatch):
    start = chosen("in_batch_logq", 0.10)
    assert Scripted([], monkeypatch).refine(start, [], seconds=0.5, most=9) is start


def test_fresh_seeds_replace_the_values_that_were_chosen(monkeypatch):
    samples = [
        chosen("in_batch_logq", 0.199),
        chosen("in_batch", 0.10),
        chosen("uniform", 0.20),
    ]
    tuner = Scripted([], monkeypatch)
    kept = tuner.confirm(samples, best=0.15, seconds=100)
    assert tuner.confirmed == ["in_batch_logq", "uniform"]
    assert [round(one.value, 3) for one in kept] == [0.189, 0.10, 0.19]


def test_no_fresh_seeds_without_time_or_behind_a_baseline(monkeypatch):
    samples = [chosen("in_batch_logq", 0.199), chosen("uniform", 0.20)]
    tuner = Scripted([], monkeypatch)
    assert tuner.confirm(samples, best=0.15, seconds=5) == samples  # 2 x 3 seconds
    assert tuner.confirm(samples, best=0.21, seconds=100) == samples
    assert not tuner.confirmed
