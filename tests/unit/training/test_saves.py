"""Validations that follow each other quickly are not each followed by a checkpoint."""

import signal
import time
from types import SimpleNamespace

import pytest
from helpers.loops import Run, quiet, tables

from twotower_jax.signals import Stopped, StopRequest
from twotower_jax.training import loop as saves
from twotower_jax.training.loop import AgreedStop, Trainer

VALUES = [1, 5, 4]  # at steps 4, 8 and 12


class KilledError(Exception):
    """Stands for a kill: nothing after it runs."""


@pytest.fixture
def expected(tmp_path):
    return Run(tmp_path / "each", VALUES).fit()


def assert_ends_alike(run, expected):
    """Train to the end; compare parameters and notes to those of a checkpoint each."""
    (state, notes), (want, other) = run.fit(), expected
    assert tables(state) == tables(want) and int(state.step) == int(want.step) == 8
    for name in ("best_step", "best_value", "worse", "last_step", "done"):
        assert getattr(notes, name) == getattr(other, name), name
    assert run.checkpoints.steps() == [8, 12]


def test_the_best_state_is_held_and_saved_with_the_last(expected, tmp_path):
    run = Run(tmp_path, VALUES, checkpoint_every=0)
    assert_ends_alike(run, expected)
    assert run.checkpoints.saves == [8, 12] and run.steps() == [4, 8, 12]


def test_a_best_state_that_is_the_last_is_saved_once(tmp_path):
    run = Run(tmp_path, [1, 2, 3], checkpoint_every=0)
    run.fit()
    assert run.checkpoints.saves == run.checkpoints.steps() == [12]


@pytest.mark.parametrize("name", ["SECONDS", "MOST_BYTES"])
def test_old_checkpoints_and_large_states_are_saved_at_each_validation(
    name, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(saves, name, 0)
    run = Run(tmp_path, VALUES, checkpoint_every=0)
    assert_ends_alike(run, expected)
    assert run.checkpoints.saves == [4, 8, 12]


def test_a_held_best_state_is_saved_before_a_later_one(expected, tmp_path, monkeypatch):
    """The clock stands at 0 until the third validation, and then beyond the limit."""
    run = Run(tmp_path, VALUES, steps=16, checkpoint_every=0)
    run.values.append(3)

    def clock():
        return 2 * saves.SECONDS if len(run.values) < 2 else 0.0

    seconds = SimpleNamespace(monotonic=clock, perf_counter=time.perf_counter)
    monkeypatch.setattr(saves, "time", seconds)
    state, notes = run.fit()
    assert run.checkpoints.saves == [8, 12, 16] and notes.best_step == 8
    assert tables(state) == tables(expected[0])


@pytest.mark.parametrize("saved", [0, 1])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_a_save_changes_no_bit(
    saved, moment, expected, tmp_path, monkeypatch
):
    killed = Run(tmp_path, VALUES, checkpoint_every=0)
    original = type(killed.checkpoints).save

    def dies(self, state, notes, keep):
        if moment == "after" or len(self.saves) < saved:
            original(self, state, notes, keep)
        if len(self.saves) == saved + (moment == "after"):
            raise KilledError

    monkeypatch.setattr(type(killed.checkpoints), "save", dies)
    with pytest.raises(KilledError):
        killed.fit()
    monkeypatch.undo()
    steps = killed.checkpoints.steps()
    assert steps == {0: [], 1: [8], 2: [8, 12]}[saved + (moment == "after")]
    left = VALUES[steps[-1] // 4 :] if steps else VALUES
    again = Run(tmp_path, left or [None], checkpoint_every=0)
    assert_ends_alike(again, expected)


@pytest.mark.parametrize("number", [1, 2])
def test_a_signal_before_the_next_step_saves_what_was_not(
    number, tmp_path, monkeypatch
):
    """It arrives while the state after a validation is held, or was not the best."""
    values = [5, 1, 4][:number]
    run = Run(tmp_path, values, checkpoint_every=0)
    trainer = Trainer(run.problem, run.checkpoints, run.hooks())
    request, hold = StopRequest(), trainer.saves.hold

    def then_signal(*arguments):
        hold(*arguments)
        if len(run.records) == number:
            request.number = signal.SIGTERM

    monkeypatch.setattr(trainer.saves, "hold", then_signal)
    with pytest.raises(Stopped) as caught:
        trainer.run(quiet(0), AgreedStop(request, trainer.mesh))
    assert caught.value.step == 4 * number
    assert run.checkpoints.steps() == [4, 8][:number]
    again = Run(tmp_path, [1, 4][number - 1 :], checkpoint_every=0)
    state, notes = again.fit()
    assert notes.best_step == 4 and again.checkpoints.steps() == [4, 12]
    whole, _ = Run(tmp_path / "whole", [5, 1, 4]).fit()
    assert tables(state) == tables(whole)
