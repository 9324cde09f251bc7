"""Runs of a sweep side by side: one process, its data, programs and cores shared.

A program of a small step does not fill the cores of a machine, and JAX lets go of the
interpreter while one runs. So each core has a thread that takes the next run: the runs
share the compiled programs (numbers are arguments) and the data, and each has the bits
of a run alone, for it is the same program.
"""

import io
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.prepare import Loaded, load_data
from twotower_jax.records import RunFolder, run_folder
from twotower_jax.run import Shared, run
from twotower_jax.training.progress import SweepProgress
from twotower_jax.training.signals import Stopped, StopRequest

# The sweep that this process runs side by side, if any.
_sweep: "SideBySide | None" = None


def train(config: Config, *, console: Console, command: str) -> dict[str, Any]:
    """Return the result of a run: of the sweep's threads, or made now.

    Raises:
      What `twotower_jax.run.run` raises.
    """
    if _sweep is not None and (job := _sweep.take(config)):
        return job.wait(console)
    return run(config, console=console, command=command)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Job:
    """A run in a thread; what it prints is kept until it is waited for."""

    def __init__(self, config: Config, width: int):
        self.config, self._text = config, io.StringIO()
        self.console = Console(file=self._text, width=width)
        self.future: Future[dict[str, Any]] = Future()

    def wait(self, console: Console) -> dict[str, Any]:
        try:
            return self.future.result()
        finally:
            text = self._text.getvalue()
            console.print(text, end="", markup=False, highlight=False, soft_wrap=True)


class _Reading:
    """One reading of a data set, by the first run that asks; the others wait for it."""

    def __init__(self) -> None:
        self._lock, self._begun = threading.Lock(), False
        self._data: Future[Loaded] = Future()

    def __call__(self, config: Config) -> Loaded:
        with self._lock:
            first, self._begun = not self._begun, True
        if first:
            try:
                self._data.set_result(load_data(config))
            except BaseException as error:
                self._data.set_exception(error)
        return self._data.result()


class SideBySide:
    """Context in which ``train`` finds the results of these runs."""

    def __init__(
        self,
        configs: Sequence[Config],
        console: Console,
        command: str,
        workers: int | None = None,
    ):
        """Prepare the runs; nothing starts before the context is entered.

        Args:
          configs: of the runs; of several with one folder, the first counts.
          console: where the progress of all runs is shown.
          command: noted in the manifests.
          workers: runs at a time; as many as cores by default.
        """
        self._jobs: dict[Path, _Job] = {}
        for config in configs:
            self._jobs.setdefault(run_folder(config), _Job(config, console.width))
        self._console, self._command = console, command
        self._workers = min(workers or cores(), len(self._jobs))
        self._lock, self._request = threading.Lock(), StopRequest()

    def take(self, config: Config) -> _Job | None:
        """Return the job of a configuration, once."""
        return self._jobs.pop(run_folder(config), None)

    def __enter__(self) -> "SideBySide":
        global _sweep
        self._request.__enter__()
        self._progress = SweepProgress(self._console, len(self._jobs))
        queue = self._in_order()
        # Daemons: a second Ctrl-C leaves without waiting for them.
        self._threads = [
            threading.Thread(target=self._work, args=(queue,), daemon=True)
            for _ in range(self._workers)
        ]
        for thread in self._threads:
            thread.start()
        _sweep = self
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        global _sweep
        _sweep = None
        try:
            if kind is not KeyboardInterrupt:
                for thread in self._threads:
                    thread.join()
        finally:
            self._progress.close()
            self._request.__exit__()

    def _in_order(self) -> Iterator[tuple[_Job, Shared]]:
        """Yield the jobs, those on the same data one after the other.

        A data set is kept by the jobs that read it, and no longer.
        """
        by_data: dict[str, list[_Job]] = {}
        for job in self._jobs.values():
            by_data.setdefault(repr(job.config.data), []).append(job)
        for jobs in by_data.values():
            read = _Reading()
            for job in jobs:
                yield job, Shared(read, self._progress.line, self._request)

    def _work(self, queue: Iterator[tuple[_Job, Shared]]) -> None:
        """Run jobs until none is left; after a signal the rest are not begun."""
        while True:
            with self._lock:
                taken = next(queue, None)
            if taken is None:
                return
            job, shared = taken
            try:
                if self._request.number is not None:
                    raise Stopped(self._request.number, 0)
                job.future.set_result(self._run(job, shared))
            except BaseException as error:
                job.future.set_exception(error)

    def _run(self, job: _Job, shared: Shared) -> dict[str, Any]:
        trains = not RunFolder(run_folder(job.config)).is_done()
        try:
            options = {"console": job.console, "command": self._command}
            return run(job.config, shared=shared, **options)
        finally:
            self._progress.end_run(trains)
