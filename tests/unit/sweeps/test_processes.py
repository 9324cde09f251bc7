"""Processes of a sweep: their cores, and the errors that they send."""

import json
import os
import pickle
import signal

import pytest
from helpers import tiny
from rich.console import Console

from twotower_jax.errors import BusyError, DataError, InputError, NonFiniteLossError
from twotower_jax.run.execute import Sharing
from twotower_jax.run.folder import run_folder
from twotower_jax.signals import Stopped
from twotower_jax.sweeps.jobs import FailedJobError
from twotower_jax.sweeps.processes import WorkerPool, sendable


@pytest.fixture
def pool():
    made = WorkerPool()
    yield made
    made.end()


@pytest.mark.parametrize(
    ("number", "cores"),
    [
        (1, [[0, 2, 3, 5, 7]]),
        (2, [[0, 2], [3, 5, 7]]),
        (5, [[0], [2], [3], [5], [7]]),
        (6, [[0], [0], [2], [3], [5], [7]]),
    ],
)
def test_the_cores_of_the_sweep_are_divided(number, cores, pool, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 0, 5, 2, 3})
    processes = pool.of_size(number)
    assert [one.cores for one in processes] == cores


def test_the_processes_are_kept_for_the_next_part_of_a_sweep_of_as_many_runs(pool):
    first = pool.of_size(2)
    assert pool.of_size(2) == first
    assert not set(pool.of_size(3)) & set(first)


def arrived(error):
    return pickle.loads(pickle.dumps(sendable(error)))


@pytest.mark.parametrize(
    "error",
    [
        *(InputError("a=1; b"), DataError("no file"), BusyError("in use")),
        NonFiniteLossError("not finite"),
    ],
)
def test_an_error_arrives_as_it_was(error):
    assert type(arrived(error)) is type(error) and str(arrived(error)) == str(error)


def test_other_errors_arrive_with_their_message(capsys):
    stop = arrived(Stopped(signal.SIGTERM, 7))
    assert isinstance(stop, Stopped) and stop.code == 128 + signal.SIGTERM
    assert stop.reason.startswith("stopped by SIGTERM at step 7")
    full = arrived(OSError(28, "No space left on device", "outputs/a"))
    assert str(full).startswith("outputs/a: No space left on device; make sure")
    assert not capsys.readouterr().err
    unknown = arrived(ZeroDivisionError("division by zero"))
    assert isinstance(unknown, FailedJobError) and str(unknown) == "division by zero"
    assert "ZeroDivisionError" in capsys.readouterr().err


class BrokenLine:
    """A progress line that cannot be shown, as where the reader of a pipe has left."""

    def __call__(self, *begin):
        return self

    def update(self, step, loss, rate):
        raise BrokenPipeError

    def validated(self, metrics):
        pass

    def close(self):
        pass


def test_messages_of_a_run_that_was_given_up_are_not_those_of_the_next(pool, tmp_path):
    (process,) = pool.of_size(1)
    one, other = (tiny.make_config(tmp_path, f"seed={seed}") for seed in (1, 2))
    options = {"console": Console(quiet=True), "command": "test"}
    with pytest.raises(BrokenPipeError):
        process.run(one, shared=Sharing(progress=BrokenLine()), **options)
    result = process.run(other, shared=Sharing(), **options)
    assert result["seed"] == 2 and result["steps"] == 40
    written = tiny.read_json(run_folder(other) / "result.json")
    assert written == json.loads(json.dumps(result))
