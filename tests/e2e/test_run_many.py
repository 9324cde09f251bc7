"""`run_many`: outcomes in order, of good, failing and finished runs."""

import threading
from contextlib import closing
from dataclasses import replace

import pytest
from helpers import tiny

from twotower_jax.errors import InputError
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder
from twotower_jax.sweeps import runner
from twotower_jax.sweeps.options import FusedOptions
from twotower_jax.sweeps.runner import run_many

POPULAR = ("towers=popularity",)


def configs(output, *seeds, words=POPULAR):
    return [tiny.make_config(output, *words, f"seed={seed}") for seed in seeds]


@pytest.mark.parametrize("workers", [1, 3])
def test_outcomes_come_in_the_order_of_the_configurations(workers, tmp_path):
    every = configs(tmp_path, 2, 0, 1)
    bad = replace(every[0], evaluation=replace(every[0].evaluation, k=(20, 999)))
    twice = [every[0], bad, *every[1:], every[0]]
    outcomes = list(run_many(twice, options=FusedOptions(workers=workers)))
    assert [outcome.config for outcome in outcomes] == twice
    good, failed, *others, again = outcomes
    assert isinstance(failed.error, InputError) and failed.result is None
    with pytest.raises(InputError, match="asks for 999 items"):
        failed.get()
    assert [one.get()["seed"] for one in (good, *others)] == [2, 0, 1]
    assert again.get()["metrics"] == good.get()["metrics"]
    assert "finished before" in again.text
    for outcome in (good, *others):
        assert outcome.error is None and f"run {tmp_path}" in outcome.text
        assert (run_folder(outcome.config) / "result.json").exists()


def test_a_finished_run_is_returned_and_the_bits_are_those_of_a_run_alone(tmp_path):
    first, second = configs(tmp_path / "beside", 1, 2, words=("training.steps=10",))
    alone = run(replace(first, output=str(tmp_path / "alone")))
    before = run(second)
    log = (run_folder(second) / "metrics.jsonl").stat().st_mtime_ns
    trained, returned = run_many([first, second])
    assert trained.get()["metrics"] == alone["metrics"]
    assert returned.get()["metrics"] == before["metrics"]
    assert "finished before" in returned.text
    assert (run_folder(second) / "metrics.jsonl").stat().st_mtime_ns == log


def test_one_call_knows_nothing_of_another(tmp_path, capsys):
    """Not even of one that waits in its loop; and nothing is printed."""
    state = {key: id(value) for key, value in vars(runner).items()}
    seeds = []
    for outer in run_many(configs(tmp_path / "a", 0, 1)):
        for inner in run_many(configs(tmp_path / "b", 5, 6)):
            seeds.append((outer.get()["seed"], inner.get()["seed"]))
    assert seeds == [(0, 5), (0, 6), (1, 5), (1, 6)]
    assert state == {key: id(value) for key, value in vars(runner).items()}
    assert capsys.readouterr() == ("", "")


def test_a_call_that_is_left_early_ends_its_runs(tmp_path):
    every = configs(tmp_path, 0, 1, 2)
    outcomes = run_many(every, options=FusedOptions(workers=1))
    assert next(outcomes).get()["seed"] == 0
    outcomes.close()
    assert not list(tmp_path.rglob("*.lock"))


def test_a_second_ctrl_c_in_the_loop_of_the_caller_waits_for_no_run(
    tmp_path, monkeypatch
):
    go_on, ended = threading.Event(), []

    def made(config, **_):
        if config.seed == 1:
            go_on.wait(60)
            ended.append(config.seed)
        return {"seed": config.seed}

    monkeypatch.setattr(runner, "run", made)
    every = configs(tmp_path, 0, 1)
    outcomes = run_many(every, options=FusedOptions(workers=2))
    with pytest.raises(KeyboardInterrupt), closing(outcomes):
        next(outcomes)
        raise KeyboardInterrupt
    assert not ended
    go_on.set()
