"""The loop: boundaries, stopping, and resuming from a checkpoint."""

import gc
import os
import shutil
import signal
from typing import Any

import jax
import pytest
from helpers.loops import ITEMS, Run, Watched, make_problem, quiet, tables
from helpers.quick import quick

from twotower_jax.errors import InputError
from twotower_jax.signals import Stopped, StopRequest
from twotower_jax.training import loop
from twotower_jax.training.loop import NonFiniteLossError, Trainer, fit


def test_boundaries_of_validation_and_checkpoints(tmp_path):
    run = Run(tmp_path, [1, 2, 3, 4], steps=14, checkpoint_every=3)
    _, notes = run.fit()
    assert run.steps() == [4, 8, 12, 14]
    assert run.checkpoints.saves == [3, 4, 6, 8, 9, 12, 14]
    assert run.checkpoints.steps() == [14]
    assert notes.last_step == 14 and notes.best_step == 14 and notes.done


def test_the_best_state_is_kept_and_returned(tmp_path):
    short = Run(tmp_path / "short", [1, 2], steps=8)
    expected, _ = short.fit()
    run = Run(tmp_path / "long", [1, 5, 4])
    state, notes = run.fit()
    assert run.checkpoints.steps() == [8, 12]
    assert notes.best_step == 8 and notes.best_value == 5
    assert int(state.step) == 8
    assert tables(state) == tables(expected)


class Shown:
    """A progress line that keeps what it is given."""

    def __init__(self):
        self.updates = []

    def update(self, step, loss, rate):
        self.updates.append((step, rate))

    def validated(self, metrics):
        pass

    def close(self):
        pass


def test_the_rate_that_is_shown_last_is_that_of_the_result(tmp_path):
    run, line = Run(tmp_path, [1, 2, 3], steps_per_dispatch=1), Shown()
    hooks = run.hooks()._replace(progress=lambda start: line)
    _, notes = fit(run.problem, run.checkpoints, hooks)
    # Three boundaries; the first dispatch after each may compile.
    assert notes.timed_steps == 9
    assert line.updates[0] == (1, 0)
    assert line.updates[-1] == (12, notes.rate) and notes.rate > 0


def test_equal_values_keep_the_first(tmp_path):
    _, notes = Run(tmp_path, [2, 2, 2]).fit()
    assert notes.best_step == 4 and notes.worse == 2


def test_patience_counts_validations_without_improvement(tmp_path):
    # An improvement begins the count anew; an equal value is none.
    run = Run(tmp_path, [1, 0, 3, 2, 3, 9], steps=24, patience=2)
    state, notes = run.fit()
    assert run.steps() == [4, 8, 12, 16, 20]
    assert notes.best_step == 12 and notes.last_step == 20 and int(state.step) == 12


@pytest.mark.parametrize(
    ("least", "last"), [(0, 12), (12, 12), (13, 16), (20, 28), (99, 28)]
)
def test_the_patience_does_not_stop_a_slow_start(tmp_path, least, last):
    """The metric falls below its first value before the model learns."""
    values = [2, 1, 1, 1, 3, 2, 2]
    run = Run(tmp_path, values, steps=28, patience=2, min_steps=least)
    state, notes = run.fit()
    assert run.steps()[-1] == notes.last_step == last
    assert notes.best_step == int(state.step) == (20 if least > 16 else 4)
    assert notes.stopped == ("limit" if least > 28 else "patience")


def test_why_a_training_ended_is_noted_once(tmp_path):
    _, notes = Run(tmp_path / "a", [1, 2, 3]).fit()
    assert notes.stopped == "limit"
    # The last step is also the last of the patience: the model had learned.
    _, notes = Run(tmp_path / "b", [3, 2, 1], patience=2).fit()
    assert notes.stopped == "patience" and notes.last_step == 12
    _, again = Run(tmp_path / "b", [None], patience=2).fit()
    assert again.stopped == "patience"
    _, notes = Run(tmp_path / "c", steps=8).fit()  # no validation set
    assert notes.stopped == "limit"
    _, notes = Run(tmp_path / "d", [1], steps=0).fit()
    assert notes.stopped == "limit"


def test_the_loss_of_a_record_is_the_mean_since_the_last(tmp_path):
    one = Run(tmp_path / "one", steps=4, eval_every=1, checkpoint_every=99)
    one.fit()
    two = Run(tmp_path / "two", steps=4, eval_every=2, checkpoint_every=99)
    two.fit()
    losses = [record["loss"] for record in one.records]
    assert [record["loss"] for record in two.records] == [
        (losses[0] + losses[1]) / 2,
        (losses[2] + losses[3]) / 2,
    ]


@pytest.fixture
def optimized():
    """Compile the steps as users do, also where tests compile fast.

    A loop of one step is a program of its own, and rounds alike with XLA's
    optimisations only.
    """
    compiled: Any = loop.run_steps
    steps = jax.jit(
        compiled.__wrapped__,
        donate_argnames="state",
        compiler_options={"xla_backend_optimization_level": 3},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "run_steps", steps)
        yield


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("per_dispatch", quick([1, 5, 64], [5]))
def test_steps_per_dispatch_change_no_bit(tmp_path, per_dispatch):
    first, _ = Run(tmp_path / "a", [1, 2, 3]).fit()
    run = Run(tmp_path / "b", [1, 2, 3], steps_per_dispatch=per_dispatch)
    second, _ = run.fit()
    assert tables(first) == tables(second)
    assert run.steps() == [4, 8, 12]


def test_a_run_without_steps_is_saved_as_it_began(tmp_path):
    run = Run(tmp_path, [1], steps=0)
    state, notes = run.fit()
    assert run.steps() == [] and run.checkpoints.saves == [0]
    assert int(state.step) == 0 and notes.best_step == -1


# --- stopping ------------------------------------------------------------------------


class KilledError(Exception):
    """Stands for a kill: nothing after it runs."""


@pytest.mark.parametrize("save", quick(range(6), [1, 4]))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_save_changes_no_bit(save, moment, tmp_path, monkeypatch):
    values = [1, 3, 2]
    whole = Run(tmp_path / "whole", values, checkpoint_every=2)
    expected, notes = whole.fit()
    killed = Run(tmp_path / "killed", values, checkpoint_every=2)
    number = len(whole.checkpoints.saves)
    assert number == 6
    original = Watched.save

    def dies(self, state, notes, keep):
        if moment == "after" or len(self.saves) < save:
            original(self, state, notes, keep)
        if len(self.saves) == save + (moment == "after"):
            raise KilledError

    monkeypatch.setattr(Watched, "save", dies)
    with pytest.raises(KilledError):
        killed.fit()
    monkeypatch.undo()
    saved = killed.checkpoints.steps()
    kept = [one for one in killed.records if saved and one["step"] <= saved[-1]]
    again = Run(tmp_path / "killed", values[len(kept) :] or [None], checkpoint_every=2)
    state, after = again.fit()
    assert tables(state) == tables(expected)
    for name in ("best_step", "best_value", "worse", "last_step", "done"):
        assert getattr(after, name) == getattr(notes, name), name
    lines = [(r["step"], r["loss"], r["valid"]) for r in kept + again.records]
    assert lines == [(r["step"], r["loss"], r["valid"]) for r in whole.records]
    assert again.checkpoints.steps() == whole.checkpoints.steps()


@pytest.mark.parametrize("resumed", [False, True])
def test_a_stop_before_the_first_step_neither_validates_nor_saves(tmp_path, resumed):
    if resumed:
        first = Run(tmp_path, [1], steps=4)
        first.fit()
        # As if the schedule went on: the run was saved at a validation.
        state, notes = first.checkpoints.load(4, first.fit()[0], first.problem.layout())
        first.checkpoints.save(state, notes | {"done": False}, {4})
    run = Run(tmp_path, [1, 2])
    trainer = Trainer(run.problem, run.checkpoints, run.hooks())
    request = StopRequest()
    request.number = signal.SIGTERM
    with pytest.raises(Stopped) as caught:
        trainer.run(quiet(0), request)
    assert caught.value.code == 128 + signal.SIGTERM
    assert f"SIGTERM at step {4 if resumed else 0};" in caught.value.reason
    assert run.records == [] and run.checkpoints.saves == []


@pytest.mark.usefixtures("optimized")
def test_a_stop_between_boundaries_saves_and_names_the_step(tmp_path, monkeypatch):
    run = Run(tmp_path, [1, 2, 3], steps_per_dispatch=1)
    real = loop.run_steps

    def stop_at_six(*arguments):
        state, losses = real(*arguments)
        if int(state.step) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return state, losses

    monkeypatch.setattr(loop, "run_steps", stop_at_six)
    with pytest.raises(Stopped) as caught:
        run.fit()
    monkeypatch.undo()
    assert caught.value.code == 143
    step = run.checkpoints.steps()[-1]
    assert step == 6
    assert f"at step {step}; the same command goes on" in caught.value.reason
    assert run.steps() == [4]
    again = Run(tmp_path, [2, 3])
    state, _ = again.fit()
    expected, _ = Run(tmp_path / "whole", [1, 2, 3]).fit()
    assert tables(state) == tables(expected)


def test_a_second_ctrl_c_leaves_at_once():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.number == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


# --- failures ------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_the_steps(tmp_path):
    problem = make_problem(learning_rate=1e29, normalize=False)
    run = Run(tmp_path, [1, 2, 3], problem=problem)
    with pytest.raises(NonFiniteLossError, match=r"within the \d+ steps before step"):
        run.fit()
    assert run.checkpoints.steps() == []


# Orbax leaves the coroutines of its other reads to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_checkpoint_of_another_structure_is_refused(tmp_path):
    Run(tmp_path, [1, 2, 3]).fit()
    other = Run(tmp_path, [1, 2, 3], problem=make_problem(items=ITEMS + 1))
    with pytest.raises(InputError, match=r"checkpoints.*12 cannot be read.*remove"):
        other.fit()
    gc.collect()


def test_remains_of_an_interrupted_save_are_not_a_checkpoint(tmp_path):
    run = Run(tmp_path, [1, 2, 3])
    left = tmp_path / "checkpoints" / "8.orbax-checkpoint-tmp"
    left.mkdir(parents=True)
    (tmp_path / "checkpoints" / "notes.txt").write_text("x")
    assert run.checkpoints.steps() == []
    run.fit()
    assert run.checkpoints.steps() == [12]
    assert not left.exists()


def test_a_finished_run_drops_older_checkpoints_that_a_kill_left(tmp_path):
    run = Run(tmp_path, [1, 3, 2])
    expected, _ = run.fit()
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "12", folder / "4")
    again = Run(tmp_path, [None])
    state, _ = again.fit()
    assert again.checkpoints.steps() == [8, 12] and again.records == []
    assert tables(state) == tables(expected)
