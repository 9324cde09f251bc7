"""Outcomes of jobs: an outcome of another process arrives in that of the sweep."""

import errno
import math
import pickle
import subprocess
import sys

import pytest

from twotower_jax.errors import InputError
from twotower_jax.sweeps import jobs

# A job of a launcher, which does not print the messages of the sweep.
ELSEWHERE = """
import pickle, sys
from twotower_jax.sweeps import jobs
from twotower_jax.errors import InputError
from twotower_jax.errors import NonFiniteLossError
outcome = {}
assert not jobs.SWEEP.failures and not jobs.SWEEP.folders
sys.stdout.buffer.write(pickle.dumps(outcome))
"""


@pytest.fixture(autouse=True)
def a_sweep():
    jobs.SWEEP.begin()
    yield
    jobs.SWEEP.end()


def elsewhere(outcome):
    """Return the pickled outcome of another process and its stderr."""
    code = [sys.executable, "-c", ELSEWHERE.format(outcome)]
    done = subprocess.run(code, capture_output=True, check=True)
    return done.stdout, done.stderr.decode()


def test_a_full_disk_is_one_line(capsys):
    jobs.SWEEP.fail(OSError(errno.ENOSPC, "No space left on device", "out/study.json"))
    said = capsys.readouterr().err
    assert said.startswith("error: out/study.json: No space left on device; make sure")
    assert len(said.splitlines()) == 1


def test_a_finished_job_returns_its_objective_and_its_folder():
    packed, printed = elsewhere("jobs.finished(0.25, 'outputs/swept')")
    outcome = pickle.loads(packed)
    assert outcome == 0.25 and isinstance(outcome, float) and not printed
    assert [path.as_posix() for path in jobs.SWEEP.folders] == ["outputs/swept"]
    assert not jobs.SWEEP.failures


@pytest.mark.parametrize(
    ("error", "kind"),
    [("InputError('set k')", InputError), ("NonFiniteLossError(3, 4)", Exception)],
)
def test_a_failed_job_returns_its_error(error, kind, capsys):
    packed, printed = elsewhere(f"jobs.failed({error})")
    assert not printed
    outcome = pickle.loads(packed)
    (failure,) = jobs.SWEEP.failures
    assert isinstance(failure, kind)
    assert isinstance(failure, InputError) == (kind is InputError)
    shown = capsys.readouterr().err
    assert shown == f"error: {failure}\n" and str(failure) == repr(outcome)


def test_an_unforeseen_error_leaves_its_traceback_where_it_was(capsys):
    packed, printed = elsewhere("jobs.failed(KeyError('users'))")
    pickle.loads(packed)
    assert "KeyError: 'users'" in printed
    assert capsys.readouterr().err == "error: 'users'\n"
    assert not isinstance(jobs.SWEEP.failures[0], InputError)


def test_here_a_failure_is_printed_at_once_and_is_not_a_number(capsys):
    outcome = jobs.failed(InputError("set k"))
    assert capsys.readouterr().err == "error: set k\n" and len(jobs.SWEEP.failures) == 1
    with pytest.raises(TypeError):
        float(outcome)  # type: ignore[arg-type]


def test_an_objective_without_a_value_is_not_a_failure():
    assert math.isnan(jobs.finished(math.nan, "outputs/swept"))
    assert not jobs.SWEEP.failures


def test_a_process_without_a_sweep_notes_nothing(capsys):
    packed = pickle.dumps(jobs.failed(InputError("set k")))
    jobs.SWEEP.end()
    pickle.loads(packed)
    assert not jobs.SWEEP.failures
    assert capsys.readouterr().err == "error: set k\n"  # from before
