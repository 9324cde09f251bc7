"""Successive halving, with runs whose validations are known functions."""

from dataclasses import replace

import pytest

from twotower_jax.config import Config
from twotower_jax.errors import InputError
from twotower_jax.sweeps import arm_points as rungs
from twotower_jax.sweeps.arm_points import Arm, ArmGrid, Names
from twotower_jax.sweeps.options import Options

OPTIONS = Options(rungs=(10, 30))
TEMPERATURES = [round(0.01 * place, 2) for place in range(1, 10)]


def grid(kind="two_tower", dim=8, temperatures=TEMPERATURES):
    """An arm that tries temperatures; arms differ in the dimension."""
    config = Config()
    config = replace(config, towers=replace(config.towers, kind=kind, dim=dim))
    points = [{"loss.temperature": str(one)} for one in temperatures]
    configs = [
        replace(config, loss=replace(config.loss, temperature=one))
        for one in temperatures
    ]
    return ArmGrid(Arm((), Names(kind, None, None), config), {}, points, configs)


class Runs:
    """Launches nothing, keeps what was asked for, and takes 10 s per run."""

    def __init__(self, monkeypatch, value, fail=()):
        self.asked, self.now, self.lines, self._fail = [], 0.0, [], fail
        monkeypatch.setattr(rungs, "valid_metric", lambda config, metric: value(config))

    def launch(self, runs):
        configs = [run.config for run in runs]
        self.asked.append(configs)
        self.now += 10 * len(runs)
        return [config.loss.temperature not in self._fail for config in configs]

    def race(self, grids, seeds=(100,), together=1, **options):
        how = rungs.Validation(
            "recall@20",
            seeds,
            self.launch,
            self.lines.append,
            clock=lambda: self.now,
            together=together,
        )
        return rungs.race(grids, replace(OPTIONS, **options), how)

    def tried(self, dim, pause):
        return sorted(
            config.loss.temperature
            for configs in self.asked
            for config in configs
            if config.towers.dim == dim and config.pause == pause
        )


def test_the_better_third_of_each_arm_goes_on_even_of_an_arm_that_loses(monkeypatch):
    runs = Runs(
        monkeypatch, lambda c: c.loss.temperature * (1 if c.towers.dim == 8 else 0.01)
    )
    trials = runs.race([grid(), grid(dim=16)])
    for dim in (8, 16):
        assert runs.tried(dim, 10) == TEMPERATURES
        assert runs.tried(dim, 30) == [0.07, 0.08, 0.09]
        assert runs.tried(dim, None) == [0.09]
    for ours in trials:
        assert [one.left_at for one in ours] == [10] * 6 + [30, 30, None]
    assert runs.lines == [
        "rung of 10 steps: 6 of 18 points go on",
        "rung of 30 steps: 2 of 6 points go on",
    ]


def test_a_later_rung_judges_anew(monkeypatch):
    """A point that learns slowly wins, once it is on the rung where it is better."""
    slow = 0.08
    runs = Runs(
        monkeypatch,
        lambda c: (
            1.0 if c.loss.temperature == slow and c.pause != 10 else c.loss.temperature
        ),
    )
    (ours,) = runs.race([grid()])
    assert runs.tried(8, None) == [slow]
    assert ours[TEMPERATURES.index(slow)].mean == 1.0


def test_without_rungs_every_point_is_trained_to_its_end(monkeypatch):
    runs = Runs(monkeypatch, lambda c: c.loss.temperature)
    (ours,) = runs.race([grid()], rungs=[])
    assert runs.tried(8, None) == TEMPERATURES
    assert {one.left_at for one in ours} == {None}


def test_a_baseline_is_fitted_once_and_all_its_points_count(monkeypatch):
    runs = Runs(monkeypatch, lambda c: c.loss.temperature)
    ease, ours = runs.race([grid("ease", dim=4), grid()])
    assert runs.tried(4, None) == TEMPERATURES and not runs.tried(4, 10)
    assert [one.left_at for one in ease] == [None] * 9
    assert runs.tried(8, None) == [0.09] and ours[-1].left_at is None


def test_a_point_of_which_a_seed_failed_does_not_go_on(monkeypatch):
    runs = Runs(monkeypatch, lambda c: c.loss.temperature, fail={0.09})
    (ours,) = runs.race([grid()], seeds=(100, 101))
    assert runs.tried(8, 30) == [0.06] * 2 + [0.07] * 2 + [0.08] * 2
    assert ours[-1].values == ()


@pytest.mark.parametrize("minutes", [0.1, 2, 3, 60])
def test_a_limit_of_time_gives_every_arm_as_many_points(monkeypatch, minutes):
    runs = Runs(monkeypatch, lambda c: c.loss.temperature)
    trials = runs.race([grid(), grid(dim=16)], minutes=minutes)
    first = [runs.tried(dim, 10) for dim in (8, 16)]
    assert first[0] == first[1]  # the same points
    # A third of the time, at 20 s for a point of both arms.
    assert len(first[0]) == min(9, max(1, -(-minutes * 60 // 3 // 20)))
    # One column may begin before the limit and end after it, on each of three rungs.
    assert runs.now <= max(60 * minutes, 20) + 3 * 20
    for ours in trials:
        assert sum(one.left_at is None and bool(one.values) for one in ours) >= 1
        assert sum(one.left_at != 0 for one in ours) == len(first[0])
    short = [line for line in runs.lines if line.startswith("time for")]
    assert bool(short) == (minutes < 60)
    for line in short[:1]:
        tried = 2 * len(first[0])
        more = "a larger hydra.sweeper.minutes tries more"
        assert line == f"time for {tried} of 18 points; {more}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rungs": [30, 10]}, "hydra.sweeper.rungs=[30, 10] do not ascend"),
        ({"rungs": [10, 10]}, "do not ascend"),
        ({"rungs": [0]}, "hydra.sweeper.rungs=0"),
        ({"eta": 1}, "hydra.sweeper.eta=1"),
        ({"minutes": 0}, "hydra.sweeper.minutes=0 is out of range"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(InputError) as error:
        replace(OPTIONS, **options)
    assert said in str(error.value)


def test_a_rung_behind_the_end_of_a_training_is_refused():
    one = grid()
    steps = replace(one.configs[0].training, steps=500)
    one.configs[0] = replace(one.configs[0], training=steps)
    rungs.check_reached([100, 499], [one])
    said = r"rungs=\[100, 500\] goes to step 500, and training.steps=500 ends before"
    with pytest.raises(InputError, match=said):
        rungs.check_reached([100, 500], [one])
    rungs.check_reached([100, 500], [grid("ease")])  # fitted at once


@pytest.mark.parametrize(
    ("arms", "seeds", "sizes"),
    [
        (["two_tower"], (100,), [2, 2, 2, 2, 1]),  # one run per core
        (["two_tower"], (100, 101), [2] * 9),
        (["two_tower", "two_tower"], (100,), [2] * 9),
        (["ease"], (100,), [1] * 9),  # two fits may not fit the memory
    ],
)
def test_under_a_limit_of_time_runs_begin_two_by_two(monkeypatch, arms, seeds, sizes):
    runs = Runs(monkeypatch, lambda c: c.loss.temperature)
    grids = [grid(kind, dim=8 * (place + 1)) for place, kind in enumerate(arms)]
    runs.race(grids, seeds=seeds, together=2, rungs=[], minutes=60)
    assert [len(asked) for asked in runs.asked] == sizes
    assert sum(sizes) == 9 * len(arms) * len(seeds)


def test_an_arm_that_is_fitted_at_once_has_all_of_its_time(monkeypatch):
    """It has no rungs, of which each would keep a part of the minutes back."""
    runs = Runs(monkeypatch, lambda c: c.loss.temperature)
    ((*trials,),) = runs.race([grid("ease")], minutes=1)
    assert sum(bool(trial.values) for trial in trials) == 6  # of 10 s each
