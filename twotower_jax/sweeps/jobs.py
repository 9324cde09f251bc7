"""The state of a sweep and the outcomes of its jobs.

A launcher may run jobs in other processes or on other machines, whose notes the process
of the sweep never sees. So the value that a job returns carries its outcome, and
unpickling that value in the process of the sweep notes it there.
"""

import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twotower_jax.config import Config
from twotower_jax.errors import (
    BusyError,
    DataError,
    FileError,
    InputError,
    LostProcessError,
    NonFiniteLossError,
    file_error,
    shown,
)
from twotower_jax.run.folder import RunFolder, run_folder

if TYPE_CHECKING:
    from twotower_jax.sweeps.processes import WorkerPool


class Countdown:
    """Counts the runs of a list of jobs as they end.

    The time left is the mean time of the runs that this process has seen end, for each
    run that is left. Runs that had finished before take no time and do not count.
    """

    def __init__(
        self, folders: Iterable[Path], clock: Callable[[], float] = time.perf_counter
    ):
        """Begin the count; the clock gives seconds."""
        self._folders = list(folders)
        self._left = {
            folder for folder in self._folders if not RunFolder(folder).is_done()
        }
        self._timed, self._ended = len(self._left), 0
        self._clock, self._begin = clock, clock()

    def ended(self, folder: Path) -> str:
        """Count a job that has ended.

        Examples:
          >>> seconds = iter([0.0, 10.0, 30.0])
          >>> runs = [Path("a"), Path("b"), Path("c")]
          >>> count = Countdown(runs, clock=lambda: next(seconds))
          >>> count.ended(Path("a"))
          'run 1 of 3, 20 s left'
          >>> count.ended(Path("b"))
          'run 2 of 3, 15 s left'
        """
        self._ended += 1
        self._left.discard(folder)
        text = f"run {self._ended} of {len(self._folders)}"
        seen = self._timed - len(self._left)
        if not seen or not self._left:
            return text
        seconds = (self._clock() - self._begin) / seen * len(self._left)
        left = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        return f"{text}, {left} left"


class FailedJobError(Exception):
    """A job failed in another process, which has printed its traceback."""


# Failures whose message is complete without a traceback.
EXPECTED = (
    *(InputError, NonFiniteLossError, BusyError, FileError, LostProcessError),
    FailedJobError,
)


@dataclass
class SweepState:
    """The sweep that a process runs."""

    # Id of the process of the sweep, None where there is none.
    process: int | None = None
    # Folders that the sweep has put runs into.
    folders: set[Path] = field(default_factory=set)
    # The label (``arm``) of each run, by the run's folder.
    labels: dict[Path, str | None] = field(default_factory=dict)
    # The errors of jobs and of the report.
    failures: list[Exception] = field(default_factory=list)
    # Why the data of some jobs cannot be read, by the section ``data``.
    broken: dict[str, str] = field(default_factory=dict)
    countdown: Countdown | None = None  # of the jobs, where their number is known
    # Runs that another process worked on, which are run last.
    later: list[Config] = field(default_factory=list)
    pool: "WorkerPool | None" = None  # processes that make runs of the sweep

    def begin(self) -> None:
        """Begin a sweep in this process, without any notes."""
        self.end()
        self.process = os.getpid()

    def end(self) -> None:
        """Forget the sweep."""
        self.end_workers()
        self.process = self.countdown = None
        self.folders.clear()
        self.labels.clear()
        self.failures.clear()
        self.broken.clear()
        self.later.clear()

    def end_workers(self) -> None:
        """End the processes that make runs; a training there saves its state before."""
        if self.pool is not None:
            self.pool.end()

    def is_here(self) -> bool:
        """Whether this process is that of the sweep; a fork of it is not."""
        return self.process == os.getpid()

    def fail(self, error: Exception) -> None:
        """Print an error now, once; it decides the exit status at the end."""
        error = _named(error)
        known = isinstance(error, EXPECTED) and str(error) in map(str, self.failures)
        if not isinstance(error, EXPECTED):
            traceback.print_exception(error)
        if not known:
            report_error(error)
        self.failures.append(error)

    def check_data(self, config: Config) -> None:
        """Refuse a job on data that an earlier job could not read."""
        if (reason := self.broken.get(repr(config.data))) is not None:
            raise DataError(reason)

    def repeated(self) -> list[str]:
        """A line for each error of several jobs, which was printed once."""
        counts = Counter(map(str, self.failures))
        return [
            f"{number} runs failed alike: {text.partition(';')[0]}"
            for text, number in counts.items()
            if number > 1
        ]

    def note(self, outcome: "JobOutcome") -> None:
        """Note the outcome of a job that ran in another process."""
        if not self.is_here():
            return
        if outcome.error is None:
            self.folders.add(Path(outcome.folder))
        else:
            kind = InputError if outcome.wrong_input else FailedJobError
            self.fail(kind(outcome.error))

    def claim(self, config: Config) -> None:
        """Note a job of the sweep; another label for the same run is refused."""
        label = self.labels.setdefault(run_folder(config), config.arm)
        check_label(label, config.arm)
        self.folders.add(Path(config.output) / config.name)

    def count_down(self, config: Config) -> str:
        """The number of a job that has ended and the time left, if known."""
        if self.countdown is None or not self.is_here():
            return ""
        return self.countdown.ended(run_folder(config))

    def exit_status(self) -> int:
        """Return 0 without failures, 2 for wrong input, 3 for busy runs, else 1."""
        if not self.failures:
            return 0
        if all(isinstance(error, BusyError) for error in self.failures):
            return 3
        return 2 if all(isinstance(e, InputError) for e in self.failures) else 1


SWEEP = SweepState()


@dataclass(frozen=True, repr=False)
class JobOutcome:
    """The outcome of a job; a failed job returns it to the sweeper.

    It is not a number, so that no sweeper takes a failure for an objective.
    """

    folder: str  # the folder that holds the job's run; empty for a failed job
    error: str | None = None  # the message of a failure, None for a finished job
    wrong_input: bool = False  # whether the failure is an InputError

    def __repr__(self) -> str:
        return self.error or self.folder

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickle by `_arrived`, which notes the outcome."""
        return _arrived, (self.folder, self.error, self.wrong_input)


class Objective(float):
    """The objective of a finished job, as a sweeper reads it, with its outcome."""

    outcome: JobOutcome

    def __new__(cls, value: float, outcome: JobOutcome) -> "Objective":
        """The number with the outcome of its job."""
        objective = super().__new__(cls, value)
        objective.outcome = outcome
        return objective

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickle with the outcome, which is noted."""
        return Objective, (float(self), self.outcome)


def _arrived(folder: str, error: str | None, wrong_input: bool) -> JobOutcome:
    """An outcome that comes from another process, and note it."""
    outcome = JobOutcome(folder, error, wrong_input)
    SWEEP.note(outcome)
    return outcome


def finished(value: float, folder: str) -> Objective:
    """The value of a finished job for Hydra."""
    outcome = JobOutcome(folder)
    SWEEP.note(outcome)
    return Objective(value, outcome)


def failed(error: Exception) -> JobOutcome:
    """The value of a failed job for Hydra; report the error.

    In the process of the sweep the error is printed at once. In another process only
    the traceback of an unexpected error is printed.
    """
    error = _named(error)
    if SWEEP.is_here():
        SWEEP.fail(error)
    elif not isinstance(error, EXPECTED):
        traceback.print_exception(error)
    return JobOutcome("", shown(error), isinstance(error, InputError))


def _named(error: Exception) -> Exception:
    """An OSError as a FileError with the remedy, and others unchanged."""
    return file_error(error) if isinstance(error, OSError) else error


def check_label(before: str | None, label: str | None) -> None:
    """Refuse two labels of one configuration."""
    if before != label:
        raise InputError(
            f"arm={before!r} and arm={label!r} are one configuration under two "
            "labels; leave one of them out of the sweep, or set what differs"
        )


def report_error(error: Exception) -> int:
    """Print one message, whose last line names the remedy. Return the exit status."""
    print(f"error: {shown(error)}", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1
