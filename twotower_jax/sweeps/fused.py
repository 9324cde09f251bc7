"""Runs of a sweep side by side: one process, its data, programs and cores shared.

The program of a small step does not fill the cores of a machine, and JAX releases the
interpreter lock while it runs. So each core has a thread that takes the next run. The
runs share the compiled programs (numbers are arguments) and the data. Each run has the
bits of a run alone, for it is the same program.

With `hydra.launcher.processes=true` a thread hands its runs to a process of its own
(`worker_process`), which shares neither interpreter nor data.

On an accelerator the runs that differ in numbers train as one program over all of them
(`training/together.py`), each still in a thread of its own.
"""

import io
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.errors import BusyError
from twotower_jax.run.execute import Sharing, run
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import Loaded, cached_loader, load_data
from twotower_jax.sweeps.groups import group_runs
from twotower_jax.sweeps.options import FusedOptions
from twotower_jax.sweeps.worker_process import own_cores, worker_processes
from twotower_jax.training.progress import SweepProgress, make_console
from twotower_jax.training.signals import Stopped, StopRequest
from twotower_jax.training.together import Together

# Runs at a time on an accelerator, where each holds its tables.
ARMS = 16

# The sweep that this process runs side by side, if any.
_sweep: "SideBySide | None" = None


def train_job(
    config: Config, *, console: Console, command: str, wait: bool = True
) -> dict[str, Any]:
    """The result of a run: from a thread of the sweep, or made now, after them."""
    if _sweep is not None:
        if job := _sweep.take(config):
            return job.wait(console)
        _sweep.join()
    return run(config, console=console, command=command, shared=Sharing(wait=wait))


def shared_console() -> Console:
    """Return the console of the sweep's live line, for output above that line."""
    return make_console() if _sweep is None else _sweep.console


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(own_cores())


class _Job:
    """A run in a thread; its output is kept until its result is waited for."""

    def __init__(self, config: Config, width: int):
        self.config, self._text = config, io.StringIO()
        self.console = make_console(self._text, width)
        self.future: Future[dict[str, Any]] = Future()

    def wait(self, console: Console) -> dict[str, Any]:
        try:
            return self.future.result()
        finally:
            text = self._text.getvalue()
            console.print(text, end="", markup=False, highlight=False, soft_wrap=True)


class SideBySide:
    """Context in which ``train_job`` takes the results of these runs."""

    def __init__(
        self,
        configs: Sequence[Config],
        console: Console,
        command: str,
        options: FusedOptions | None = None,
        load: Callable[[Config], Loaded] | None = None,
    ):
        """Prepare the runs; nothing starts before the context is entered."""
        self._jobs: dict[Path, _Job] = {}
        for config in configs:
            if math.prod(config.training.mesh_shape) > 1:
                continue  # devices that wait for each other belong to one run
            self._jobs.setdefault(run_folder(config), _Job(config, console.width))
        self.console, self._command = console, command
        self._options, self._load = options or FusedOptions(), load or load_data
        self._lock, self._request = threading.Lock(), StopRequest()
        self._taken: set[Path] = set()
        # Jobs that another process works on; they come last.
        self._busy: list[tuple[_Job, Sharing]] = []

    def take(self, config: Config) -> _Job | None:
        """Return the job of a configuration, once."""
        folder = run_folder(config)
        if folder in self._taken:
            return None
        self._taken.add(folder)
        return self._jobs.get(folder)

    def join(self) -> None:
        """Wait until every run has ended."""
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> "SideBySide":
        global _sweep
        self._request.__enter__()
        self._progress = SweepProgress(self.console, len(self._jobs))
        on_cpu = jax.default_backend() == "cpu"
        options = self._options
        together = not on_cpu if options.together is None else options.together
        number = options.workers or (cores() if on_cpu else ARMS)
        queue = self._in_order(number if together else 0)
        number = min(number, len(self._jobs))
        makers: list[Callable[..., dict[str, Any]]] = [run] * number
        if options.processes and on_cpu and not together:
            makers = [one.run for one in worker_processes(number)]
        # Daemons: a second Ctrl-C leaves without waiting for them.
        self._threads = [
            threading.Thread(target=self._work, args=(queue, make), daemon=True)
            for make in makers
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
                self.join()
        finally:
            self._progress.close()
            self._request.__exit__()

    def _in_order(self, together: int) -> Iterator[tuple[_Job, Sharing]]:
        """Yield the jobs, those on the same data next to each other.

        A data set is kept as long as jobs read it. A job that waits for others of its
        program has them right behind it, and there is a thread for each.
        """
        by_data: dict[str, list[_Job]] = {}
        for job in self._jobs.values():
            by_data.setdefault(repr(job.config.data), []).append(job)
        for jobs in by_data.values():
            # Once: the same input has the same error.
            read = cached_loader(self._load, keep_errors=True)
            shared = Sharing(read, request=self._request)
            if not together:
                yield from ((job, shared) for job in jobs)
                continue
            for group in group_runs([job.config for job in jobs], read):
                lanes = min(together, len(group))
                yield from self._group(group, lanes, shared)

    def _group(
        self, group: list[Config], lanes: int, shared: Sharing
    ) -> Iterator[tuple[_Job, Sharing]]:
        """Yield the jobs of one program, in the order in which they take its lanes."""
        meeting = Together(lanes) if lanes > 1 else None
        for arm, config in enumerate(group):
            steps = meeting and meeting.steps(arm)
            yield self._jobs[run_folder(config)], shared._replace(together=steps)

    def _work(
        self,
        queue: Iterator[tuple[_Job, Sharing]],
        make: Callable[..., dict[str, Any]],
    ) -> None:
        """Run jobs until none is left; after a signal the other jobs do not begin."""
        while True:
            with self._lock:
                entry, waits = next(queue, None), False
                if entry is None and self._busy:
                    entry, waits = self._busy.pop(0), True
            if entry is None:
                return
            job, shared = entry
            # Arms of one program meet at its steps: none can come later.
            waits = waits or shared.together is not None
            try:
                if self._request.number is not None:
                    raise Stopped(self._request.number, 0)
                shared = shared._replace(wait=waits)
                job.future.set_result(self._run(job, shared, make))
            except BusyError:
                with self._lock:
                    self._busy.append(entry)
            except BaseException as error:
                job.future.set_exception(error)
            finally:
                if shared.together is not None:
                    shared.together.leave()

    def _run(
        self, job: _Job, shared: Sharing, make: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        """Make the run of a job, and show its progress."""
        line = self._progress.add_run()
        options = {"console": job.console, "command": self._command}
        if RunFolder(run_folder(job.config)).is_done():
            line.found_finished()
        try:
            return make(job.config, shared=shared._replace(progress=line), **options)
        finally:
            line.end()
